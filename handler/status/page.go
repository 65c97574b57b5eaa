package status

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/handler/local"
)

//go:embed page.html
var pageHTML string

// Serve adds three routes to the mux:
//
//	/        a web page, which contains no data itself and reads /events
//	/status  a Status as JSON
//	/events  a Status as a server-sent event, every second
//
// Requests that a web page of another site could have sent are refused, see
// [local.OwnNames].
func (w *Watcher) Serve(mux *http.ServeMux) {
	own := local.AllowedHosts(w.Hosts).Protect
	viewers := make(chan struct{}, maxViewers)
	mux.Handle("GET /{$}", own(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		rw.Header().Set("Content-Security-Policy", contentSecurityPolicy)
		io.WriteString(rw, pageHTML)
	}))
	mux.Handle("GET /status", own(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(w.Status())
	}))
	mux.Handle("GET /events", own(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case viewers <- struct{}{}:
			defer func() { <-viewers }()
			w.streamEvents(rw, r)
		default:
			http.Error(rw, "too many viewers", http.StatusServiceUnavailable)
		}
	}))
}

// contentSecurityPolicy allows the page its own inline script, its own inline style and
// requests to its own origin, and nothing else. Trusted Types keep text from becoming
// markup.
var contentSecurityPolicy = "default-src 'none'; connect-src 'self'; img-src data:" +
	"; script-src " + hashSource(pageHTML, "script") + "; style-src " + hashSource(pageHTML, "style") +
	"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// hashSource returns the hash of an inline element of the page, for a policy.
func hashSource(page, element string) string {
	_, text, _ := strings.Cut(page, "<"+element+">")
	text, _, _ = strings.Cut(text, "</"+element+">")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
