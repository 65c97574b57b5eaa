package handler

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// smallBody is the most of a body that is read into memory before Ollama hears
// of the request: 1 MiB. A body in memory leaves in one write with the head,
// and can be sent again where that is safe.
const smallBody = 1 << 20

var errBodyTooLarge = errors.New("request body too large")

// body is a request's body on its way to Ollama. The zero body is empty.
type body struct {
	length int64     // -1: not known
	small  []byte    // all of it, if it is small
	large  io.Reader // otherwise
	client *source   // nil if nothing was read
}

// clientErr is why the client's bytes ended, other than by their proper end.
func (b *body) clientErr() error {
	if b.client == nil {
		return nil
	}
	if err := b.client.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// readCloser is the body as http.Request wants it.
func (b *body) readCloser() io.ReadCloser {
	switch {
	case b.small != nil:
		return io.NopCloser(bytes.NewReader(b.small))
	case b.large != nil:
		return struct {
			io.Reader
			io.Closer
		}{b.large, b.client.from}
	}
	return http.NoBody
}

// openBody reads a small body whole, and prepares a large one to be passed on
// as it comes. If the body is longer than allowed, or cannot be read, openBody
// returns an error, at once where the length is announced.
func (p *Proxy) openBody(x *exchange, dog *watchdog) error {
	r := x.r
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		dog.enter(&p.waiting)
		return nil
	}
	limit := p.MaxBody
	if x.route.upload {
		limit = -1
	}
	if limit >= 0 && r.ContentLength > limit {
		return errBodyTooLarge
	}
	client := &source{
		from:   r.Body,
		limit:  limit,
		passed: func(n int) { p.Recorder.Uploaded(x.routeID(), n); dog.saw(time.Since(dog.start)) },
		done:   func() { dog.enter(&p.waiting) },
	}
	x.body = body{length: r.ContentLength, client: client}
	switch {
	case r.ContentLength > smallBody:
		x.body.large = client
	case r.ContentLength > 0:
		x.body.small = make([]byte, r.ContentLength)
		if _, err := io.ReadFull(client, x.body.small); err != nil {
			return err
		}
		dog.enter(&p.waiting)
	default:
		start, err := io.ReadAll(io.LimitReader(client, smallBody+1))
		if err != nil {
			return err
		}
		if len(start) <= smallBody {
			x.body.small, x.body.length = start, int64(len(start))
		} else {
			x.body.large = io.MultiReader(bytes.NewReader(start), client)
		}
	}
	return nil
}

// source reads what the client sends and bounds it.
type source struct {
	from   io.ReadCloser
	limit  int64 // bytes; negative: none
	passed func(n int)
	done   func() // the proper end has been read
	count  int64
	failed atomic.Pointer[error] // set by the transport's goroutine, too
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if n > 0 {
		s.passed(n)
		if s.count += int64(n); s.limit >= 0 && s.count > s.limit {
			n, err = 0, errBodyTooLarge
		}
	}
	if err == io.EOF {
		s.done()
	} else if err != nil {
		s.failed.Store(&err)
	}
	return n, err
}
