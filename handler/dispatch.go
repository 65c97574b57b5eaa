package handler

import (
	"context"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// roundTrip sends the request to Ollama, or to those of several whom it concerns.
// If it names one that is not there, or none where it must, the error is a
// *refusal.
func (p *Proxy) roundTrip(x *exchange, out *http.Request) (*http.Response, error) {
	switch pl := p.pool; {
	case x.named != "":
		res, err := pl.askNamed(&x.upstreamRequest, out, x.Route.Class == signer.Admin)
		if err == errNoSuchName {
			err = &refusal{status: http.StatusBadRequest, reason: reasonRoute, message: "there is no Ollama of that name, only " + pl.names()}
		}
		return res, err
	case pl.alone:
		out.Body = x.body.ReadCloser()
		return p.Transport.RoundTrip(out)
	case x.Route.Reach == api.TheNamed:
		return nil, &refusal{status: http.StatusBadRequest, reason: reasonRoute,
			message: "there are several Ollamas: say which one with the header " + api.UpstreamHeader + ", " + pl.names()}
	case x.Route.Reach == api.TheBest:
		talk := talk(0)
		if x.Route.Class == signer.Chat {
			talk = pl.talks.of(&x.upstreamRequest, x.key.ID)
		}
		return pl.askBest(&x.upstreamRequest, out, talk)
	case x.Route.Models == models.InAnswer:
		return pl.union(&x.upstreamRequest, out)
	case x.Route.Name == "/api/pull":
		return pl.pull(&x.upstreamRequest, out)
	default:
		return pl.change(&x.upstreamRequest, out)
	}
}

// tellUpstream says in the answer's head where it comes from, to those who manage
// the Ollamas and nobody else.
func (x *exchange) tellUpstream() {
	h := x.w.Header()
	delete(h, api.UpstreamHeader)
	if x.key.Admin && x.at != nil {
		h[api.UpstreamHeader] = []string{x.at.name}
	}
}

// WatchUpstreams asks every Ollama for its models, at once and then time and again
// until the context ends, and logs when one comes and goes. Requests do not wait for
// that: each finds out for itself.
func (p *Proxy) WatchUpstreams(ctx context.Context) { p.pool.watch(ctx) }

// UpstreamStates tells what is known of each Ollama, in the order of their names.
func (p *Proxy) UpstreamStates() []UpstreamState {
	all := p.pool.states()
	if p.pool.alone {
		all[0].InFlight = p.running.len()
	}
	return all
}

// ReloadUpstreams returns what has the proxy follow the file, for a server to call
// now and then: it reports whether there were others than before. Ollamas that are no
// longer listed finish what they have; those that still are keep what is known of
// them.
func (p *Proxy) ReloadUpstreams(f *UpstreamsFile) func(context.Context, bool) (bool, error) {
	return func(context.Context, bool) (bool, error) {
		all, err := f.Load()
		if all != nil {
			p.pool.set(all)
		}
		return all != nil, err
	}
}
