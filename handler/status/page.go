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
var statusPage string

// Serve adds to the mux what there is to look at:
//
//	/        a page for people; it holds no data
//	/status  a Status as JSON, once
//	/events  the same as server-sent events, one a second
//
// All three are for those on the machine and in its network, not for web pages
// of others, see [ownNames.check].
func (w *Watcher) Serve(mux *http.ServeMux) {
	own := local.AllowedHosts(w.Hosts).Protect
	viewers := make(chan struct{}, maxViewers)
	mux.Handle("GET /{$}", own(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		rw.Header().Set("Content-Security-Policy", statusPolicy)
		io.WriteString(rw, statusPage)
	}))
	mux.Handle("GET /status", own(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(w.Look())
	}))
	mux.Handle("GET /events", own(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case viewers <- struct{}{}:
			defer func() { <-viewers }()
			w.stream(rw, r)
		default:
			http.Error(rw, "too many are looking already", http.StatusServiceUnavailable)
		}
	}))
}

// statusPolicy lets the page do what it does and nothing else: its own script,
// its own style, and its own events. Text cannot become markup.
var statusPolicy = "default-src 'none'; connect-src 'self'; img-src data:" +
	"; script-src " + inline(statusPage, "script") + "; style-src " + inline(statusPage, "style") +
	"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// inline names what stands in an element of a page, for a policy.
func inline(page, element string) string {
	_, text, _ := strings.Cut(page, "<"+element+">")
	text, _, _ = strings.Cut(text, "</"+element+">")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
