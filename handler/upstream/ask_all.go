package upstream

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// inMemory gives res another body, which is in memory.
func inMemory(res *http.Response, text []byte, r *http.Request) *http.Response {
	res.Request, res.ContentLength = r, int64(len(text))
	res.Header.Set("Content-Length", strconv.Itoa(len(text)))
	res.Body = body.NewReader(body.Pieces{First: text})
	if r.Method == http.MethodHead {
		res.Body = http.NoBody
	}
	return res
}

// answerOf is the response of one backend to a request that was sent to all.
type answerOf struct {
	backend *backend
	res     *http.Response // its body has been read
	body    []byte
	err     error
}

// askAll sends the request to every backend, and returns their responses in the order of
// their names. A backend that is down is not asked; one that takes longer than the limit
// has failed.
func (pl *Pool) askAll(x *Request, out *http.Request, method string, limit time.Duration) []answerOf {
	backends := pl.roster.Load().backends
	answers := make([]answerOf, len(backends))
	ctx, cancel := context.WithTimeout(out.Context(), limit)
	defer cancel()
	var all sync.WaitGroup
	for i, b := range backends {
		answers[i] = answerOf{backend: b, err: ErrAllDown}
		if b.up.Load() {
			all.Go(func() {
				answers[i].res, answers[i].body, answers[i].err = pl.askWhole(x.copyFor(ctx, b, out, method), b)
			})
		}
	}
	all.Wait()
	return answers
}

// askWhole sends the request to one backend and reads its response, of up to 16 MiB.
func (pl *Pool) askWhole(r *http.Request, b *backend) (*http.Response, []byte, error) {
	res, err := pl.askBackend(r, b)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, models.MaxList+1))
	switch {
	case err != nil:
		return nil, nil, err
	case len(body) > models.MaxList:
		return nil, nil, models.ErrBadList
	}
	return inMemory(res, body, r), body, nil
}

// askBackend sends the request to one backend, and records success, or that it is down.
func (pl *Pool) askBackend(r *http.Request, b *backend) (*http.Response, error) {
	res, err := b.transport.RoundTrip(r)
	switch {
	case err == nil:
		b.recordSuccess()
	case transport.IsRefused(err) && r.Context().Err() == nil:
		pl.markDown(b, err, false)
		pl.Recorder.UpstreamFailed(b.number, UpstreamDial)
	}
	return res, err
}
