package handler

import (
	"context"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// roundTrip sends the request to Ollama or, where there are several, to those that its
// route and [api.UpstreamHeader] select. The error is a *refusal if the
// header names no Ollama that exists, or is missing on a route that needs it.
func (p *Proxy) roundTrip(x *exchange, out *http.Request) (*http.Response, error) {
	switch pl := p.pool; {
	case x.Named != "":
		res, err := pl.AskNamed(&x.Request, out, x.Route.Class == signer.Admin)
		if err == upstream.ErrNoSuchName {
			err = &refusal{status: http.StatusBadRequest, reason: reasonRoute, message: "no Ollama has that name; there are only " + pl.Names()}
		}
		return res, err
	case pl.Alone:
		out.Body = x.Body.ReadCloser()
		return p.Transport.RoundTrip(out)
	case x.Route.Reach == api.TheNamed:
		return nil, &refusal{status: http.StatusBadRequest, reason: reasonRoute,
			message: "there are several Ollamas: name one in the header " + api.UpstreamHeader + ": " + pl.Names()}
	case x.Route.Reach == api.TheBest:
		conversation := upstream.Conversation(0)
		if x.Route.Class == signer.Chat {
			conversation = pl.Affinity.ConversationOf(&x.Request, x.key.ID)
		}
		return pl.AskBest(&x.Request, out, conversation)
	case x.Route.Models == models.InAnswer:
		return pl.MergeLists(&x.Request, out)
	case x.Route.Name == "/api/pull":
		return pl.PullAll(&x.Request, out)
	default:
		return pl.ChangeAll(&x.Request, out)
	}
}

// setUpstreamHeader sets the header that names the Ollama which has answered, if the key
// is an ADMIN key, and removes it otherwise.
func (x *exchange) setUpstreamHeader() {
	h := x.w.Header()
	delete(h, api.UpstreamHeader)
	if x.key.Admin && x.At != nil {
		h[api.UpstreamHeader] = []string{x.At.Name}
	}
}

// WatchUpstreams probes every Ollama for its health and its models, at once and then at
// intervals until the context ends, and logs when one goes down or comes back. A request
// does not wait for the first probe: it then tries an Ollama itself.
func (p *Proxy) WatchUpstreams(ctx context.Context) { p.pool.Watch(ctx) }

// UpstreamStates returns the state of each Ollama as this replica knows it, sorted by
// name.
func (p *Proxy) UpstreamStates() []upstream.State {
	all := p.pool.States()
	if p.pool.Alone {
		all[0].InFlight = p.running.len()
	}
	return all
}

// ReloadUpstreams returns a function that reads the list of Ollamas from the file again.
// It reports whether the list has changed, and returns an error if it cannot be read:
// then the old list stays. An Ollama that is no longer listed finishes its requests; one
// that is still listed keeps its state. The context and the bool are not used.
func (p *Proxy) ReloadUpstreams(f *upstream.File) func(context.Context, bool) (bool, error) {
	return func(context.Context, bool) (bool, error) {
		all, err := f.Load()
		if all != nil {
			p.pool.Set(all)
		}
		return all != nil, err
	}
}
