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
	ErrNobody = errors.New("no Ollama can be reached")
	ErrNoHost = errors.New("no Ollama that has the model can be reached")
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
func (pl *Pool) AskBest(x *Request, out *http.Request, talk Conversation) (*http.Response, error) {
	model := pl.modelOf(out.Context(), x)
	w := selection{last: pl.Affinity.last(talk)}
	var busy *http.Response
	broken := false
	var kind, back string // how the attempt before failed, and why it is made again
	for {
		o, why := pl.pick(model, &w)
		if o == nil && busy != nil {
			return busy, nil
		}
		if back != "" && o != nil {
			pl.Recorder.UpstreamRetried(x.At.number, back)
		}
		if o == nil {
			x.Leave() // its failure has been told
			return nil, pl.nobodyFor(model)
		}
		if o.remote.Load() && !pl.Open {
			o.leave() // it has come up since the lists were looked at
			return nil, ErrRemote
		}
		x.moveTo(o, out, pl.choiceOf(model, why))
		res, err := o.transport.RoundTrip(out)
		switch {
		case err == nil && res.StatusCode == http.StatusServiceUnavailable && x.repeatable():
			if busy = keep(res); busy == nil {
				return res, nil
			}
			o.isBusy()
			if !w.exclude(o.backend) {
				return busy, nil
			}
			back = retryBusy
			continue
		case err == nil:
			o.serves()
			pl.Affinity.served(talk, o.id)
			if why == byLeastLoad {
				o.probeSoon() // what it has unloaded for that
			}
			return res, nil
		case out.Context().Err() != nil:
			return nil, err
		case transport.IsRefused(err):
			kind, back = UpstreamDial, retryRefused
			pl.markDown(o.backend, err, false)
		case transport.IsEarlyReset(err):
			kind, back = UpstreamReset, retryReset
			if o.earlyResets.Add(1) >= maxEarlyResets {
				pl.markDown(o.backend, err, false)
			}
			o.probeSoon()
			if broken || !w.exclude(o.backend) {
				return nil, err
			}
			broken = true
		default:
			return nil, err
		}
		if !x.repeatable() {
			return nil, err
		}
		pl.Recorder.UpstreamFailed(o.number, kind)
	}
}

// nobodyFor is why nobody can be asked.
func (pl *Pool) nobodyFor(model string) error {
	if model != "" && pl.Knows(model) {
		return ErrNoHost
	}
	return ErrNobody
}

// choiceOf is the choice as the recorder has it.
func (pl *Pool) choiceOf(model string, why reason) string {
	switch {
	case why == byAffinity:
		return choiceTalk
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
	if pl.Open && !pl.Knows(*model) { // else guard has asked them
		pl.refresh(ctx)
	}
	return *model
}

// keep reads what a busy backend says, so that its connection is free. If that is
// of unknown length, or long, keep returns nil and has done nothing. If it breaks
// off, so does what keep returns.
func keep(res *http.Response) *http.Response {
	if res.ContentLength < 0 || res.ContentLength > maxBusy {
		return nil
	}
	said, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(said), brokenOff{err}))
		return res
	}
	res.Body, res.ContentLength = body.NewReader(body.Pieces{First: said}), int64(len(said))
	res.Header.Del("Content-Length")
	return res
}

// brokenOff is the end of what broke off.
type brokenOff struct{ err error }

func (b brokenOff) Read([]byte) (int, error) { return 0, b.err }
