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
	ErrAllDown   = errors.New("no Ollama can be reached")
	ErrModelDown = errors.New("no Ollama that has the model can be reached")
)

// maxEarlyResets is how many answers of a backend's in a row may break off before their
// first byte, until it is left alone for a while.
const maxEarlyResets = 3

// maxBusy bounds an answer that says that Ollama is busy: 64 KiB.
const maxBusy = 64 << 10

// AskBest has a request answered by the backend that suits it best, and tries others
// as long as that is safe: while the request is in memory, and none has begun to
// answer.
//
// Who refuses the connection is down, and has done nothing: the next one is
// tried, whoever is left. Who says that it is busy has done nothing either; up to
// three others are asked before the client hears of it. Whoever breaks the
// connection may have begun to work. Then one other is tried and no more: a
// request that kills Ollama is not to kill them all.
//
// The conversation is the conversation that the request belongs to.
func (pl *Pool) AskBest(x *Request, out *http.Request, conversation Conversation) (*http.Response, error) {
	model := pl.modelOf(out.Context(), x)
	sel := selection{last: pl.Affinity.last(conversation)}
	var busy *http.Response
	broken := false
	var kind, retryReason string // how the attempt before failed, and why it is made again
	for {
		p, why := pl.pick(model, &sel)
		if p == nil && busy != nil {
			return busy, nil
		}
		if retryReason != "" && p != nil {
			pl.Recorder.UpstreamRetried(x.At.number, retryReason)
		}
		if p == nil {
			x.Leave() // its failure has been told
			return nil, pl.unreachable(model)
		}
		if p.remote.Load() && !pl.AllowRemote {
			p.leave() // it has come up since the lists were looked at
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
				p.probeSoon() // what it has unloaded for that
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

// nobodyFor is why nobody can be asked.
func (pl *Pool) unreachable(model string) error {
	if model != "" && pl.Knows(model) {
		return ErrModelDown
	}
	return ErrAllDown
}

// choiceOf is the choice as the recorder has it.
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

// modelOf is the model by which to choose; "" if there is none. Of a model that
// no backend is known to have, they are asked first.
func (pl *Pool) modelOf(ctx context.Context, x *Request) string {
	model := x.Model.Load()
	if model == nil {
		return ""
	}
	if pl.AllowRemote && !pl.Knows(*model) { // else guard has asked them
		pl.refresh(ctx)
	}
	return *model
}

// keep reads what a busy backend says, so that its connection is free. If that is
// of unknown length, or long, keep returns nil and has done nothing. If it breaks
// off, so does what keep returns.
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

// brokenOff is the end of what broke off.
type failingReader struct{ err error }

func (b failingReader) Read([]byte) (int, error) { return 0, b.err }
