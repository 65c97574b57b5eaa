package upstream

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// MergeLists asks every backend for its list of models and makes one of them, in the
// order of the names and without doubles: of those the first backend's stands. A
// backend that does not answer within lookTimeout is left out; if none gives a
// list, the client gets what the first has said instead.
func (pl *Pool) MergeLists(x *Request, out *http.Request) (*http.Response, error) {
	answers := pl.askAll(x, out, http.MethodGet, probeTimeout)
	var lists []*models.Lists
	var first *http.Response // that gives a list, or else at all
	err := ErrAllDown
	for _, a := range answers {
		if errors.Is(a.err, transport.ErrNoConnection) {
			return nil, a.err // a list without it would seem whole
		}
		if a.err != nil {
			continue
		}
		l, unread := models.ReadLists(a.body)
		if a.res.StatusCode != http.StatusOK || unread != nil {
			err = models.ErrBadList
			first = cmp.Or(first, a.res)
			continue
		}
		if lists == nil {
			first = a.res
		}
		lists = append(lists, l)
	}
	switch {
	case lists == nil && first == nil:
		return nil, err
	case lists == nil:
		return first, nil
	}
	return inMemory(first, models.MergeLists(lists).JSON(), out), nil
}

// inMemory is an answer like res with another body.
func inMemory(res *http.Response, text []byte, r *http.Request) *http.Response {
	res.Request, res.ContentLength = r, int64(len(text))
	res.Header.Set("Content-Length", strconv.Itoa(len(text)))
	res.Body = body.NewReader(body.Pieces{First: text})
	if r.Method == http.MethodHead {
		res.Body = http.NoBody
	}
	return res
}

// answerOf is what one backend has said to a request that went to all.
type answerOf struct {
	backend *backend
	res     *http.Response // its body has been read
	body    []byte
	err     error
}

// askAll has every backend answer the request, in order of their names. Those that
// are down are not asked, and those that take longer than the limit have failed.
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
