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
	errCloud = &refusal{status: http.StatusForbidden, reason: reasonModel, message: "models that run at ollama.com are not allowed here"}

	errWebSearch = &refusal{status: http.StatusForbidden, reason: reasonModel,
		message: "web search is not allowed here: Ollama would search with the ollama.com account of its host; serve --allow-cloud allows that"}

	errNoName = &refusal{status: http.StatusBadRequest, reason: reasonModel,
		message: "the request names a model in a form that Ollama does not accept: write it like llama3.2, qwen3:8b or namespace/model:tag"}
)

// guard decides whether a request may use the models that it names. Unreadable is set if
// the request may name others that could not be read: then a key that is limited to some
// models is refused. guard returns nil if the request is allowed; a *refusal if the key
// or the proxy does not allow a model, or if no model can have the name;
// models.ErrUnreadable for a name that is too long; or the error for which Ollama's lists
// could not be read.
func (p *Proxy) guard(x *exchange, m models.Mentions, unreadable bool) error {
	limited := x.key.Limits.LimitsModels()
	unlisted := false
	for i, one := range m.All[:m.N] {
		switch {
		case one.Name == models.TooLong:
			return models.ErrUnreadable
		case one.Name == "": // no model has this name, as Ollama will answer
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
			return modelForbidden(canonical)
		case one.Use == models.ToDerive && other != "" && !l.AllowsModel(other):
			return modelForbidden(other)
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

// modelForbidden refuses a model that the key does not allow.
func modelForbidden(canonical string) *refusal {
	return &refusal{status: http.StatusForbidden, reason: reasonModel, message: fmt.Sprintf("this key is not for the model %q", canonical)}
}

// guardUnlisted reads Ollama's lists again, for a request for models that are not listed,
// and refuses models that run at ollama.com. A model that is still not listed is passed
// on: Ollama answers that it does not exist.
func (p *Proxy) guardUnlisted(x *exchange, m models.Mentions) error {
	if err := p.pool.ReadLists(&x.ctx, &x.Request); err != nil {
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

// guardOne calls guard for a single model that is to run.
func (p *Proxy) guardOne(x *exchange, name string) error {
	var m models.Mentions
	m.Add(name, models.ToRun)
	return p.guard(x, m, false)
}

// guardNames calls guard for the names in a JSON body, and refuses web search where that
// is not allowed.
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
	x.wantsStream.Store(n.Stream)
	return nil
}

// checkSmall checks the models of a request whose body is in memory, or whose body names
// no models.
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
			// Another version of Ollama might decode it, and find another model.
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

// bodyNames reads the names in a JSON body in memory, and decodes the body first where
// Ollama would.
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
	decoder, err := models.BorrowDecoder(&x.ctx, x.key.ID, body.NewReader(x.Body.Small))
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
