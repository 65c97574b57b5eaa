package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

var (
	// ErrAllDown is returned if no Ollama can be reached.
	ErrAllDown = errors.New("no Ollama can be reached")
	// ErrModelDown is returned if there are Ollamas that list the model, but none of
	// them can be reached.
	ErrModelDown = errors.New("no Ollama that has the model can be reached")
)

// maxEarlyResets is how many responses of a backend in a row may break off before their
// first byte. Then it counts as down.
const maxEarlyResets = 3

// maxBusy bounds a response of status 503 that is kept while another backend is tried:
// 64 KiB.
const maxBusy = 64 << 10

// AskBest sends a request to the backend that suits it best. As long as the request is
// in memory, and no backend has begun to respond, it retries:
//
//   - A backend that refuses the connection is marked down, and has done nothing. The
//     next one is tried, until none is left.
//   - A backend that answers 503 is busy and has done nothing either. Up to three others
//     are tried before the client gets the 503.
//   - A backend that breaks the connection may have begun to work. One other is tried,
//     and no more, since a request that crashes Ollama must not crash all of them.
//
// The conversation is the one that the request belongs to, 0 for none. If no backend can
// be reached, the error is [ErrAllDown] or [ErrModelDown]; if the chosen one would run
// the model at ollama.com, it may be [ErrRemote].
func (pl *Pool) AskBest(x *Request, out *http.Request, conversation Conversation) (*http.Response, error) {
	model := pl.modelOf(out.Context(), x)
	sel := selection{last: pl.Affinity.last(conversation)}
	var busy *http.Response
	broken := false
	var kind, retryReason string // how the last attempt failed, and why there is another
	for {
		p, why := pl.pick(model, &sel)
		if p == nil && busy != nil {
			return busy, nil
		}
		if retryReason != "" && p != nil {
			pl.Recorder.UpstreamRetried(x.At.number, retryReason)
		}
		if p == nil {
			x.Leave() // its failure has been recorded
			return nil, pl.unreachable(model)
		}
		if p.remote.Load() && !pl.AllowRemote {
			p.leave() // it came up after the lists were checked
			return nil, ErrRemote
		}
		x.moveTo(p, out, pl.choiceOf(model, why))
		res, err := p.transport.RoundTrip(out)
		switch {
		case err == nil && res.StatusCode == http.StatusServiceUnavailable && x.repeatable():
			if busy = bufferBusy(res); busy == nil {
				return res, nil
			}
			p.recordBusy()
			if !sel.exclude(p.backend) {
				return busy, nil
			}
			retryReason = retryBusy
			continue
		case err == nil:
			p.recordSuccess()
			pl.Affinity.remember(conversation, p.id)
			if why == byLeastLoad {
				p.probeSoon() // to learn which models it has unloaded for this one
			}
			return res, nil
		case out.Context().Err() != nil:
			return nil, err
		case transport.IsRefused(err):
			kind, retryReason = UpstreamDial, retryRefused
			pl.markDown(p.backend, err, false)
		case transport.IsEarlyReset(err):
			kind, retryReason = UpstreamReset, retryReset
			if p.earlyResets.Add(1) >= maxEarlyResets {
				pl.markDown(p.backend, err, false)
			}
			p.probeSoon()
			if broken || !sel.exclude(p.backend) {
				return nil, err
			}
			broken = true
		default:
			return nil, err
		}
		if !x.repeatable() {
			return nil, err
		}
		pl.Recorder.UpstreamFailed(p.number, kind)
	}
}

// unreachable returns the error for a request that no backend can get.
func (pl *Pool) unreachable(model string) error {
	if model != "" && pl.Knows(model) {
		return ErrModelDown
	}
	return ErrAllDown
}

// choiceOf returns the choice for the recorder.
func (pl *Pool) choiceOf(model string, why reason) string {
	switch {
	case why == byAffinity:
		return choiceConversation
	case why == byLeastLoad:
		return choiceCold
	case model == "" || !pl.Knows(model):
		return choiceAny
	}
	return choiceLoaded
}

// modelOf returns the model that decides the choice; "" if there is none. If no backend
// is known to have it, they are asked first.
func (pl *Pool) modelOf(ctx context.Context, x *Request) string {
	model := x.Model.Load()
	if model == nil {
		return ""
	}
	if pl.AllowRemote && !pl.Knows(*model) { // otherwise the caller has asked them
		pl.refresh(ctx)
	}
	return *model
}

// bufferBusy reads a response of status 503 into memory, so that its connection is free.
// If the response is long, or of unknown length, bufferBusy returns nil and has read
// nothing. If reading fails, the returned body ends in that error.
func bufferBusy(res *http.Response) *http.Response {
	if res.ContentLength < 0 || res.ContentLength > maxBusy {
		return nil
	}
	text, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(text), failingReader{err}))
		return res
	}
	res.Body, res.ContentLength = body.NewReader(body.Pieces{First: text}), int64(len(text))
	res.Header.Del("Content-Length")
	return res
}

// failingReader returns its error.
type failingReader struct{ err error }

func (b failingReader) Read([]byte) (int, error) { return 0, b.err }
