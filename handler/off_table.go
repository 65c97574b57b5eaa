package handler

import (
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
)

// answerOffTable answers a request with a good key on a path that no route has. Where
// Ollama would redirect it, it is redirected; where the client's base URL is wrong, the
// 404 says so.
func (x *exchange) answerOffTable() {
	if to, status := api.Routes.Redirect(x.r.URL, x.r.Method); to != nil {
		x.dialect = to.Dialect
		x.w.Header().Set("Location", to.Name)
		x.answer(refusal{status, reasonRoute, "this path is written " + to.Name, 0})
		return
	}
	message := "no such route"
	if wanted, slip := api.Routes.Slip(x.r.URL); wanted != nil {
		x.dialect, message = wanted.Dialect, slip
	}
	x.answer(refusal{http.StatusNotFound, reasonRoute, message, 0})
}
