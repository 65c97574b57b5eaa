package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// ErrRemote is returned if the chosen Ollama would run the model at ollama.com, and that
// is not allowed.
var ErrRemote = errors.New("the model runs at ollama.com")

// ErrNoSuchName is returned by AskNamed if no Ollama has the name.
var ErrNoSuchName = errors.New("no Ollama of that name")

// AskNamed sends the request to the Ollama that it names, whether that is up or down. If
// there is none of that name, it returns [ErrNoSuchName]; if it would run the model at
// ollama.com, [ErrRemote]. If the request manages the Ollama, that is probed soon
// afterwards.
func (pl *Pool) AskNamed(x *Request, out *http.Request, manages bool) (*http.Response, error) {
	for _, p := range pl.roster.Load().any {
		if p.Name != x.Named {
			continue
		}
		if model := x.Model.Load(); model != nil {
			p = pl.on(p.backend, *model)
		}
		if p.remote.Load() && !pl.AllowRemote {
			return nil, ErrRemote
		}
		p.enter()
		x.moveTo(p, out, choiceNamed)
		res, err := p.transport.RoundTrip(out)
		switch {
		case err == nil:
			p.recordSuccess()
			if manages {
				p.probeSoon()
			}
		case transport.IsRefused(err) && out.Context().Err() == nil:
			pl.markDown(p.backend, err, false)
		}
		return res, err
	}
	return nil, ErrNoSuchName
}

// on returns the backend's placement of the model, or the one of requests without a
// model if it has no such model.
func (pl *Pool) on(b *backend, model string) *placement {
	r := pl.roster.Load()
	for _, placements := range [][]*placement{r.models[model], r.any} {
		for _, p := range placements {
			if p.backend == b {
				return p
			}
		}
	}
	return nil
}

// Names returns the names of the first 20 Ollamas and the number of the others, for an
// error to those who may manage them.
func (pl *Pool) Names() string {
	const most = 20
	var all []string
	backends := pl.roster.Load().backends
	for _, b := range backends[:min(len(backends), most)] {
		all = append(all, b.Name)
	}
	if more := len(backends) - most; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}
