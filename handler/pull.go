package handler

import (
	"encoding/json"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/body"
	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

var pullRoute = api.Routes.Literal["/api/pull"]

// pulled is the last line of a pull that went well, and all of one that is not to be
// streamed.
const pulled = `{"status":"success"}`

// checksPull reports whether the request is a pull with a key that may run models and
// not manage them. Programs such as Codex pull a model before they use it, there or not.
// Ollama never sees such a request: see [Proxy.answerPull].
func (x *exchange) checksPull() bool {
	l := x.key.Limits
	return x.Route == pullRoute && !(x.key.Admin && l.AllowsClass(signer.Admin)) &&
		(l.AllowsClass(signer.Chat) || l.AllowsClass(signer.Embed))
}

// answerPull says that a model has been pulled if Ollama has it already, as its lists
// say that are read anew where need be. Otherwise a key that manages Ollama is needed.
// That the key is for the model, and the model not one of ollama.com's, has been checked
// with the body.
func (p *Proxy) answerPull(x *exchange) {
	model := x.Model.Load()
	if model == nil || x.Body.Large != nil {
		x.refuseManaging()
		return
	}
	var ask struct{ Stream *bool }
	if json.NewDecoder(body.NewReader(x.Body.Small)).Decode(&ask) != nil {
		p.fail(x, models.ErrUnreadable)
		return
	}
	if !p.pool.IsListed(&x.Request, *model) {
		if err := p.pool.ReadLists(&x.ctx, &x.Request); err != nil {
			p.fail(x, err)
			return
		}
		switch {
		case !p.AllowCloud && p.pool.IsRemote(*model):
			p.fail(x, errCloud)
			return
		case !p.pool.IsListed(&x.Request, *model):
			x.refuseManaging()
			return
		}
	}
	if ask.Stream != nil && !*ask.Stream {
		x.answerOK("application/json; charset=utf-8", pulled)
		return
	}
	x.answerOK("application/x-ndjson", pulled+"\n")
}

// refuseManaging answers those whose key does not manage Ollama.
func (x *exchange) refuseManaging() {
	message := "this route needs an OLLAMA-ADMIN- key"
	if x.key.Admin {
		message = "this key is not for admin routes"
	}
	x.answer(refusal{http.StatusForbidden, reasonRoute, message, 0})
}
