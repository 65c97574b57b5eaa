package handler

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// errRemote says that the Ollama has the model run at ollama.com.
var errRemote = errors.New("the model runs at ollama.com")

// errNoSuchName says that a request names an Ollama that is not there.
var errNoSuchName = errors.New("no Ollama of that name")

// askNamed sends the request to the Ollama that it names, up or down. If there is
// none of that name, it returns errNoSuchName. Afterwards the Ollama is looked at if
// the request manages it.
func (pl *pool) askNamed(x *upstreamRequest, out *http.Request, manages bool) (*http.Response, error) {
	for _, o := range pl.roster.Load().any {
		if o.name != x.named {
			continue
		}
		if model := x.model.Load(); model != nil {
			o = pl.on(o.member, *model)
		}
		if o.remote.Load() && !pl.open {
			return nil, errRemote
		}
		o.enter()
		x.moveTo(o, out, choiceNamed)
		res, err := o.transport.RoundTrip(out)
		switch {
		case err == nil:
			o.serves()
			if manages {
				o.lookSoon()
			}
		case isRefused(err) && out.Context().Err() == nil:
			pl.went(o.member, err, false)
		}
		return res, err
	}
	return nil, errNoSuchName
}

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
