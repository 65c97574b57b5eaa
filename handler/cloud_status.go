package handler

import (
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
)

// statusRoute is where the ollama command asks whether there are models of
// ollama.com for it to offer.
var statusRoute = api.Routes.Literal["/api/status"]

// cloudDisabled is Ollama's own answer where such models are switched off.
const cloudDisabled = `{"cloud":{"disabled":true,"source":"config"}}`

// answerStatus says in Ollama's place that there are none: here they are refused,
// whatever Ollama would do.
func (p *Proxy) answerStatus(x *exchange) {
	x.outcome = outcomeComplete
	x.reply(http.StatusOK, "application/json; charset=utf-8", []byte(cloudDisabled))
}
