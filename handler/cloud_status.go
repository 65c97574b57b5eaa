package handler

import (
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
)

// cloudStatusRoute is the route on which the ollama command asks whether it may offer
// models that run at ollama.com.
var cloudStatusRoute = api.Routes.Literal["/api/status"]

// cloudDisabled is the answer of an Ollama in which these models are switched off.
const cloudDisabled = `{"cloud":{"disabled":true,"source":"config"}}`

// answerCloudStatus answers for Ollama that models of ollama.com are switched off: the
// proxy refuses them, even if Ollama would run them.
func (p *Proxy) answerCloudStatus(x *exchange) {
	x.answerOK("application/json; charset=utf-8", cloudDisabled)
}

// answerOK sends a short answer in Ollama's place.
func (x *exchange) answerOK(contentType, body string) {
	x.outcome = outcomeComplete
	x.reply(http.StatusOK, contentType, []byte(body))
}
