package handler

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// modelSource is where a route's requests say which model they are about.
type modelSource int

const (
	noModel        modelSource = iota // they are about none
	inModel                           // the body's "model"
	inModelOrName                     // the body's "model", or "name" where that is empty
	inModelAndFrom                    // the same, made of the model in "from"
	inCopy                            // the body's "source" and "destination"
	inForm                            // the form's "model"
	inPath                            // the path's last segment
	inAnswer                          // about all: the answer lists them
	untold                            // nobody can tell
)

var errUnreadable = errors.New("the request body cannot be read")

var errCloud = &refusal{status: http.StatusForbidden, reason: reasonModel, message: "models of ollama.com are not open here"}

// pick gives the models that Ollama would use.
func (s modelSource) pick(n names) []string {
	switch s {
	case inModel:
		return []string{n.model}
	case inModelOrName:
		return []string{or(n.model, n.name)}
	case inModelAndFrom:
		if n.from == "" {
			return []string{or(n.model, n.name)}
		}
		return []string{or(n.model, n.name), n.from}
	case inCopy:
		return []string{n.source, n.destination}
	}
	return nil
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// guard refuses a request for a model that the key, or the proxy, does not
// allow. If the models cannot be told, unreadable is set; then a key for some
// models only is refused. guard returns a *refusal, errUnreadable, or nil.
func (p *Proxy) guard(x *exchange, models []string, unreadable bool) error {
	limited := x.key.Limits.LimitsModels()
	for i, model := range models {
		if model == overlong {
			return errUnreadable
		}
		canonical, ok := signer.CanonicalModel(model)
		if !p.AllowCloud && (signer.IsCloudModel(model) || p.pool.isRemote(canonical)) {
			return errCloud
		}
		if ok && i == 0 {
			x.model.Store(&canonical)
		}
		switch {
		case !limited:
		case !ok:
			unreadable = true
		case !x.key.Limits.AllowsModel(canonical):
			return &refusal{status: http.StatusForbidden, reason: reasonModel, message: fmt.Sprintf("this key is not for the model %q", canonical)}
		}
	}
	if limited && unreadable {
		return &refusal{status: http.StatusForbidden, reason: reasonModel, message: "this key is for some models only, and the request does not say for which one it is"}
	}
	return nil
}

// guardNames is guard for a JSON body.
func (p *Proxy) guardNames(x *exchange, n names) error {
	if n.remoteHost != "" && x.route.models == inModelAndFrom && !p.AllowCloud {
		return errCloud
	}
	models := x.route.models.pick(n)
	if n.exact != "" && n.exact != n.model {
		models = append(models, n.exact)
	}
	if err := p.guard(x, models, n.unreadable); err != nil {
		return err
	}
	x.asksStream.Store(n.stream)
	return nil
}

// checkSmall reads the models of a request whose body is in memory, or does not
// name them.
func (p *Proxy) checkSmall(x *exchange) error {
	switch source := x.route.models; source {
	case noModel, inAnswer:
		return nil
	case untold:
		return p.guard(x, nil, true)
	case inPath:
		return p.guard(x, []string{x.segment}, false)
	case inForm:
		model, err := formModel(x.r.Header.Get("Content-Type"), &restful{newMemory(x.body.small), newEffort()})
		if err != nil {
			return err
		}
		return p.guard(x, []string{model}, false)
	}
	n, err := bodyNames(x)
	if err != nil {
		return err
	}
	return p.guardNames(x, n)
}

// bodyNames reads a JSON body, through its coding where Ollama would do so.
func bodyNames(x *exchange) (names, error) {
	r := nameReader{kept: make([]byte, 0, ordinaryName)}
	if !x.zstd() {
		_, done := r.read(x.body.small.first)
		var e effort
		if !done && len(x.body.small.more) > 0 {
			e = newEffort()
		}
		for i := 0; !done && i < len(x.body.small.more); i++ {
			e.rest()
			_, done = r.read(x.body.small.more[i])
		}
		if !done {
			r.names.unreadable = true
		}
		if r.names.unreadable && x.r.Header.Get("Content-Encoding") != "" {
			// Another version of Ollama might decode what this one does not.
			return names{}, errUnreadable
		}
		return r.names, nil
	}
	decoder, err := borrowDecoder(&x.life, newMemory(x.body.small))
	if err != nil {
		return names{}, err
	}
	defer giveBack(decoder)
	plain := &restful{io.LimitReader(decoder, maxDecoded), newEffort()}
	s := borrow(chunkSpaces)
	defer s.giveBack()
	for {
		n, err := plain.Read(s.bytes)
		if _, done := r.read(s.bytes[:n]); done {
			return r.names, nil
		}
		if err != nil {
			return names{}, errUnreadable
		}
	}
}

// formModel reads the field "model" of a multipart form: the first that is no
// file, as http.Request.FormValue does.
func formModel(contentType string, body io.Reader) (string, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "multipart/form-data" || params["boundary"] == "" {
		return "", errUnreadable
	}
	form := multipart.NewReader(body, params["boundary"])
	for {
		part, err := form.NextPart()
		if err == io.EOF {
			return "", nil
		}
		if err != nil {
			return "", errUnreadable
		}
		if part.FormName() == "model" && part.FileName() == "" {
			value, err := io.ReadAll(io.LimitReader(part, maxNameValue+1))
			if err != nil || len(value) > maxNameValue {
				return "", errUnreadable
			}
			return string(value), nil
		}
	}
}
