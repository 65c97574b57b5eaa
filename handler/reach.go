package handler

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// upstreamHeader names an Ollama. In a request with an ADMIN key it says which
// one is to have it; in the answer to one, which one it came from. Other keys'
// requests and answers carry no such thing, and Ollama never sees it.
const upstreamHeader = "X-Ollama-Proxy-Upstream"

// reach is whom the requests on a route concern where there are several Ollamas
// and the client names none.
type reach int

const (
	theBest  reach = iota // the one that suits it best
	everyone              // all of them, and the answers become one
	theNamed              // nobody can tell but the client
)

// roundTrip sends the request to Ollama, or to those of several whom it concerns.
// If it names one that is not there, or none where it must, the error is a
// *namingError.
func (p *Proxy) roundTrip(x *exchange, out *http.Request) (*http.Response, error) {
	switch pl := p.pool; {
	case x.named != "":
		return pl.askNamed(x, out)
	case pl.alone:
		out.Body = x.body.readCloser()
		return p.Transport.RoundTrip(out)
	case x.route.reach == theNamed:
		return nil, &namingError{"there are several Ollamas: say which one with the header " + upstreamHeader + ", " + pl.names()}
	case x.route.reach == theBest:
		return pl.askBest(x, out)
	case x.route.models == inAnswer:
		return pl.union(x, out)
	case x.route.name == "/api/pull":
		return pl.pull(x, out)
	default:
		return pl.change(x, out)
	}
}

// askNamed sends the request to the Ollama that it names, up or down.
func (pl *pool) askNamed(x *exchange, out *http.Request) (*http.Response, error) {
	for _, o := range pl.roster.Load().any {
		if o.name != x.named {
			continue
		}
		if model := x.model.Load(); model != nil {
			o = pl.on(o.member, *model)
		}
		if o.remote.Load() && !pl.open {
			return nil, errCloud
		}
		o.enter()
		x.moveTo(o, out, choiceNamed)
		res, err := o.transport.RoundTrip(out)
		switch {
		case err == nil:
			o.serves()
			if x.route.class == signer.Admin {
				o.lookSoon()
			}
		case isRefused(err) && x.life.ended() == nil:
			pl.went(o.member, err, false)
		}
		return res, err
	}
	return nil, &namingError{"there is no Ollama of that name, only " + pl.names()}
}

// namingError says that a request names no Ollama where it must, or one that is
// not there.
type namingError struct{ text string }

func (e *namingError) Error() string { return e.text }

// on gives the member's offer of the model, or of none if it has no such model.
func (pl *pool) on(m *member, model string) *offer {
	r := pl.roster.Load()
	for _, offers := range [][]*offer{r.models[model], r.any} {
		for _, o := range offers {
			if o.member == m {
				return o
			}
		}
	}
	return nil
}

// names lists the Ollamas, for those who may manage them.
func (pl *pool) names() string {
	const most = 20
	var all []string
	members := pl.roster.Load().members
	for _, m := range members[:min(len(members), most)] {
		all = append(all, m.name)
	}
	if more := len(members) - most; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

// tellUpstream says in the answer's head where it comes from, to those who manage
// the Ollamas and nobody else.
func (x *exchange) tellUpstream() {
	h := x.w.Header()
	delete(h, upstreamHeader)
	if x.key.Admin && x.at != nil {
		h[upstreamHeader] = []string{x.at.name}
	}
}
