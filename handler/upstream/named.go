package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// ErrRemote says that the Ollama has the model run at ollama.com.
var ErrRemote = errors.New("the model runs at ollama.com")

// ErrNoSuchName says that a request names an Ollama that is not there.
var ErrNoSuchName = errors.New("no Ollama of that name")

// AskNamed sends the request to the Ollama that it names, up or down. If there is
// none of that name, it returns errNoSuchName. Afterwards the Ollama is looked at if
// the request manages it.
func (pl *Pool) AskNamed(x *Request, out *http.Request, manages bool) (*http.Response, error) {
	for _, o := range pl.roster.Load().any {
		if o.Name != x.Named {
			continue
		}
		if model := x.Model.Load(); model != nil {
			o = pl.on(o.backend, *model)
		}
		if o.remote.Load() && !pl.Open {
			return nil, ErrRemote
		}
		o.enter()
		x.moveTo(o, out, choiceNamed)
		res, err := o.transport.RoundTrip(out)
		switch {
		case err == nil:
			o.serves()
			if manages {
				o.probeSoon()
			}
		case transport.IsRefused(err) && out.Context().Err() == nil:
			pl.markDown(o.backend, err, false)
		}
		return res, err
	}
	return nil, ErrNoSuchName
}

// on gives the backend's placement of the model, or of none if it has no such model.
func (pl *Pool) on(m *backend, model string) *placement {
	r := pl.roster.Load()
	for _, offers := range [][]*placement{r.models[model], r.any} {
		for _, o := range offers {
			if o.backend == m {
				return o
			}
		}
	}
	return nil
}

// Names lists the Ollamas, for those who may manage them.
func (pl *Pool) Names() string {
	const most = 20
	var all []string
	members := pl.roster.Load().members
	for _, m := range members[:min(len(members), most)] {
		all = append(all, m.Name)
	}
	if more := len(members) - most; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}
