package handler

import (
	"io"
	"net/http"
	"strconv"

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
	x.answerOK("application/json; charset=utf-8", cloudDisabled)
}

// answerOK sends a short answer in Ollama's place.
func (x *exchange) answerOK(contentType, body string) {
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.answerEarly()
	x.status = http.StatusOK
	x.w.WriteHeader(http.StatusOK)
	n, _ := io.WriteString(x.w, body)
	x.sent.Add(int64(n))
	x.outcome = outcomeComplete
}
