package handler

import (
	"fmt"
	"io"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

var (
	errCloud = &refusal{status: http.StatusForbidden, reason: reasonModel, message: "models of ollama.com are not open here"}

	errWebSearch = &refusal{status: http.StatusForbidden, reason: reasonModel,
		message: "web search is not open here: Ollama would search with the ollama.com account of its host; serve --allow-cloud lets it"}

	errNoName = &refusal{status: http.StatusBadRequest, reason: reasonModel,
		message: "the request names a model in a form that Ollama does not take: write it like llama3.2, qwen3:8b or namespace/model:tag"}
)

// guard refuses a request for a model that the key, or the proxy, does not
// allow, and one whose name can be no model's. If the models cannot be told,
// unreadable is set; then a key for some models only is refused. guard returns a
// *refusal, errUnreadable, why Ollama's list could not be had, or nil.
func (p *Proxy) guard(x *exchange, m models.Mentions, unreadable bool) error {
	limited := x.key.Limits.LimitsModels()
	unlisted := false
	for i, one := range m.All[:m.N] {
		switch {
		case one.Name == models.TooLong:
			return models.ErrUnreadable
		case one.Name == "": // of no model; Ollama says so
			unreadable = true
			continue
		case !p.AllowCloud && signer.IsCloudModel(one.Name):
			return errCloud
		}
		canonical, other, ok := one.Read()
		if !ok {
			return errNoName
		}
		if i == 0 {
			x.Model.Store(&canonical)
		}
		for _, name := range [...]string{canonical, other} {
			switch {
			case name == "" || p.AllowCloud:
			case p.pool.IsRemote(name):
				return errCloud
			case one.IsUsed() && !p.pool.IsListed(&x.Request, name):
				unlisted = true
			}
		}
		switch l := x.key.Limits; {
		case !limited:
		case !l.AllowsModel(canonical):
			return notFor(canonical)
		case one.Use == models.ToDerive && other != "" && !l.AllowsModel(other):
			return notFor(other)
		}
	}
	if limited && unreadable {
		return &refusal{status: http.StatusForbidden, reason: reasonModel, message: "this key is for some models only, and the request does not say for which one it is"}
	}
	if unlisted {
		return p.guardUnlisted(x, m)
	}
	return nil
}

func notFor(canonical string) *refusal {
	return &refusal{status: http.StatusForbidden, reason: reasonModel, message: fmt.Sprintf("this key is not for the model %q", canonical)}
}

// guardUnlisted has a request that names models which no list has wait until the
// lists have been read anew. What is still in none of them, Ollama does not have
// either, and says so.
func (p *Proxy) guardUnlisted(x *exchange, m models.Mentions) error {
	if err := p.pool.ReadLists(&x.life, &x.Request); err != nil {
		return err
	}
	for _, one := range m.All[:m.N] {
		canonical, other, _ := one.Read()
		if p.pool.IsRemote(canonical) || p.pool.IsRemote(other) {
			return errCloud
		}
	}
	return nil
}

// guardOne is guard for one model to run.
func (p *Proxy) guardOne(x *exchange, name string) error {
	var m models.Mentions
	m.Add(name, models.ToRun)
	return p.guard(x, m, false)
}

// guardNames is guard for a JSON body.
func (p *Proxy) guardNames(x *exchange, n models.Names) error {
	if !p.AllowCloud {
		switch {
		case n.RemoteHost != "" && x.Route.Models == models.InModelAndFrom:
			return errCloud
		case !x.Route.HostsTools():
		case n.WebSearch:
			return errWebSearch
		case n.LongTool:
			return models.ErrUnreadable
		}
	}
	m := x.Route.Models.Names(n)
	if n.Exact != "" && n.Exact != n.Model {
		m.Add(n.Exact, models.ToRun)
	}
	if err := p.guard(x, m, n.Unreadable); err != nil {
		return err
	}
	x.asksStream.Store(n.Stream)
	return nil
}

// checkSmall reads the models of a request whose body is in memory, or does not
// name them.
func (p *Proxy) checkSmall(x *exchange) error {
	switch source := x.Route.Models; source {
	case models.NoModel, models.InAnswer:
		return nil
	case models.Unknown:
		return p.guard(x, models.Mentions{}, true)
	case models.InPath:
		return p.guardOne(x, x.Segment)
	case models.InForm:
		if x.r.Header.Get("Content-Encoding") != "" {
			// Some version of Ollama might decode it, and find another form.
			return models.ErrUnreadable
		}
		model, err := models.ReadForm(x.r.Header.Get("Content-Type"), models.NewPacedReader(body.NewReader(x.Body.Small)))
		if err != nil {
			return err
		}
		return p.guardOne(x, model)
	}
	n, err := bodyNames(x)
	if err != nil {
		return err
	}
	return p.guardNames(x, n)
}

// bodyNames reads a JSON body, through its coding where Ollama would do so.
func bodyNames(x *exchange) (models.Names, error) {
	r := models.Scanner{Buffer: make([]byte, 0, models.UsualNameLen)}
	if !x.zstd() {
		_, done := r.Read(x.Body.Small.First)
		var e models.Pacer
		if !done && len(x.Body.Small.More) > 0 {
			e = models.NewPacer()
		}
		for i := 0; !done && i < len(x.Body.Small.More); i++ {
			e.Pause()
			_, done = r.Read(x.Body.Small.More[i])
		}
		if !done {
			r.Names.Unreadable = true
		}
		if r.Names.Unreadable && x.r.Header.Get("Content-Encoding") != "" {
			// Another version of Ollama might decode what this one does not.
			return models.Names{}, models.ErrUnreadable
		}
		return r.Names, nil
	}
	decoder, err := models.BorrowDecoder(&x.life, x.key.ID, body.NewReader(x.Body.Small))
	if err != nil {
		return models.Names{}, err
	}
	defer models.ReturnDecoder(decoder)
	plain := models.NewPacedReader(io.LimitReader(decoder, models.MaxDecoded))
	s := socket.Borrow(socket.ChunkBuffers)
	defer s.Release()
	for {
		n, err := plain.Read(s.Bytes)
		if _, done := r.Read(s.Bytes[:n]); done {
			return r.Names, nil
		}
		if err != nil {
			return models.Names{}, models.ErrUnreadable
		}
	}
}
