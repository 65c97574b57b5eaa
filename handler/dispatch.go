package handler

import (
	"context"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// roundTrip sends the request to Ollama, or to those of several whom it concerns.
// If it names one that is not there, or none where it must, the error is a
// *refusal.
func (p *Proxy) roundTrip(x *exchange, out *http.Request) (*http.Response, error) {
	switch pl := p.pool; {
	case x.Named != "":
		res, err := pl.AskNamed(&x.Request, out, x.Route.Class == signer.Admin)
		if err == upstream.ErrNoSuchName {
			err = &refusal{status: http.StatusBadRequest, reason: reasonRoute, message: "there is no Ollama of that name, only " + pl.Names()}
		}
		return res, err
	case pl.Alone:
		out.Body = x.Body.ReadCloser()
		return p.Transport.RoundTrip(out)
	case x.Route.Reach == api.TheNamed:
		return nil, &refusal{status: http.StatusBadRequest, reason: reasonRoute,
			message: "there are several Ollamas: say which one with the header " + api.UpstreamHeader + ", " + pl.Names()}
	case x.Route.Reach == api.TheBest:
		talk := upstream.Conversation(0)
		if x.Route.Class == signer.Chat {
			talk = pl.Affinity.ConversationOf(&x.Request, x.key.ID)
		}
		return pl.AskBest(&x.Request, out, talk)
	case x.Route.Models == models.InAnswer:
		return pl.MergeLists(&x.Request, out)
	case x.Route.Name == "/api/pull":
		return pl.PullAll(&x.Request, out)
	default:
		return pl.ChangeAll(&x.Request, out)
	}
}

// tellUpstream says in the answer's head where it comes from, to those who manage
// the Ollamas and nobody else.
func (x *exchange) tellUpstream() {
	h := x.w.Header()
	delete(h, api.UpstreamHeader)
	if x.key.Admin && x.At != nil {
		h[api.UpstreamHeader] = []string{x.At.Name}
	}
}

// WatchUpstreams asks every Ollama for its models, at once and then time and again
// until the context ends, and logs when one comes and goes. Requests do not wait for
// that: each finds out for itself.
func (p *Proxy) WatchUpstreams(ctx context.Context) { p.pool.Watch(ctx) }

// UpstreamStates tells what is known of each Ollama, in the order of their names.
func (p *Proxy) UpstreamStates() []upstream.State {
	all := p.pool.States()
	if p.pool.Alone {
		all[0].InFlight = p.running.len()
	}
	return all
}

// ReloadUpstreams returns what has the proxy follow the file, for a server to call
// now and then: it reports whether there were others than before. Ollamas that are no
// longer listed finish what they have; those that still are keep what is known of
// them.
func (p *Proxy) ReloadUpstreams(f *upstream.File) func(context.Context, bool) (bool, error) {
	return func(context.Context, bool) (bool, error) {
		all, err := f.Load()
		if all != nil {
			p.pool.Set(all)
		}
		return all != nil, err
	}
}
