package standin

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// route is one method on one path. The path is matched after decoding, as gin does: /api%2ftags is /api/tags.
type route struct {
	method  string // "" for any
	path    string // its last segment may be {}, for one segment, or {...}, for the rest of the path
	dialect dialect
	read    func(*exchange) (query, error) // nil: the request names no model
	serve   func(*exchange)
	blob    bool // the body is a file
	unnamed bool // a request without a model is answered 404, not 400
	stored  bool // the model's name is read by Stored, not by Canonical
}

var routes = []route{
	{method: "GET", path: "/", serve: (*exchange).alive},
	{method: "HEAD", path: "/", serve: (*exchange).alive},
	{method: "GET", path: "/api/version", serve: (*exchange).version},
	{method: "HEAD", path: "/api/version", serve: (*exchange).version},
	{method: "GET", path: "/api/status", serve: (*exchange).status},
	{method: "GET", path: "/api/tags", serve: (*exchange).tags},
	{method: "HEAD", path: "/api/tags", serve: (*exchange).tags},
	{method: "GET", path: "/api/ps", serve: (*exchange).running},
	{method: "POST", path: "/api/show", read: readName, serve: (*exchange).show},
	{method: "GET", path: "/v1/models", dialect: openAI, serve: (*exchange).models},
	{method: "GET", path: "/v1/models/{}", dialect: openAI, read: readPath, serve: (*exchange).retrieve},

	{method: "POST", path: "/api/chat", read: readModel, serve: (*exchange).chat},
	{method: "POST", path: "/api/generate", read: readModel, unnamed: true, serve: (*exchange).generate},
	{method: "POST", path: "/v1/chat/completions", dialect: openAI, read: readModel, serve: (*exchange).chatCompletion},
	{method: "POST", path: "/v1/completions", dialect: openAI, read: readModel, unnamed: true, serve: (*exchange).completion},
	{method: "POST", path: "/v1/responses", dialect: openAI, read: readModel, serve: (*exchange).response},
	{method: "POST", path: "/v1/messages", dialect: anthropic, read: readModel, serve: (*exchange).message},
	{method: "POST", path: "/v1/audio/transcriptions", dialect: openAI, read: readForm, serve: (*exchange).transcribe},

	{method: "POST", path: "/api/embed", read: readModel, unnamed: true, serve: (*exchange).embed},
	{method: "POST", path: "/api/embeddings", read: readModel, serve: (*exchange).embedOne},
	{method: "POST", path: "/v1/embeddings", dialect: openAI, read: readModel, unnamed: true, serve: (*exchange).embedOpenAI},

	{method: "POST", path: "/api/pull", read: readName, serve: named((*exchange).pull)},
	{method: "POST", path: "/api/push", read: readName, stored: true, serve: named((*exchange).push)},
	{method: "POST", path: "/api/create", read: readCreate, stored: true, serve: named((*exchange).create)},
	{method: "POST", path: "/api/copy", read: readCopy, stored: true, serve: named((*exchange).copy)},
	{method: "DELETE", path: "/api/delete", read: readName, serve: named((*exchange).remove)},
	{method: "HEAD", path: "/api/blobs/{}", serve: (*exchange).hasBlob},
	{method: "POST", path: "/api/blobs/{}", serve: (*exchange).storeBlob, blob: true},

	// These use the ollama.com account of the host. Tests check that no request arrives on them.
	{path: "/api/me", serve: (*exchange).account},
	{path: "/api/signout", serve: (*exchange).account},
	{path: "/api/user/{...}", serve: (*exchange).account},
	{path: "/api/experimental/{...}", serve: (*exchange).account},
}

// find returns the route for a method on a path, nil if there is none.
func find(method, path string) *route {
	for i := range routes {
		if r := &routes[i]; (r.method == method || r.method == "") && r.matches(path) {
			return r
		}
	}
	return nil
}

func (r *route) matches(path string) bool {
	if fixed, ok := strings.CutSuffix(r.path, "{...}"); ok {
		return strings.HasPrefix(path, fixed)
	}
	if fixed, ok := strings.CutSuffix(r.path, "{}"); ok {
		last, ok := strings.CutPrefix(path, fixed)
		return ok && last != "" && !strings.Contains(last, "/")
	}
	return r.path == path
}

// guard returns the function that refuses the request, or nil: then x.route is not nil and may serve it.
func (x *exchange) guard() func() {
	written := x.r.URL.EscapedPath()
	switch tidy := cleaned(written); {
	case tidy != written:
		return func() { x.redirect(tidy, http.StatusTemporaryRedirect) }
	case !allowedOrigin(x.r), !allowedHost(x.r.Host):
		return func() { x.empty(http.StatusForbidden) }
	case x.r.Method == http.MethodOptions:
		return x.preflight
	case x.route != nil:
		return nil
	}

	if short := strings.TrimSuffix(x.r.URL.Path, "/"); find(x.r.Method, short) != nil {
		status := http.StatusTemporaryRedirect
		if x.r.Method == http.MethodGet {
			status = http.StatusMovedPermanently
		}
		return func() { x.redirect(short, status) }
	}
	var allowed []string
	for _, r := range routes {
		if r.matches(x.r.URL.Path) {
			allowed = append(allowed, r.method)
		}
	}
	if len(allowed) > 0 {
		return func() {
			x.w.Header().Set("Allow", strings.Join(slices.Compact(allowed), ", "))
			x.plain(http.StatusMethodNotAllowed, "405 method not allowed")
		}
	}
	return func() { x.plain(http.StatusNotFound, "404 page not found") }
}

// cleaned returns a path as net/http's ServeMux, which Ollama uses before its own router, cleans it.
func cleaned(p string) string {
	c := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

func (x *exchange) redirect(path string, status int) {
	if q := x.r.URL.RawQuery; q != "" {
		path += "?" + q
	}
	x.seen.answerEnds()
	http.Redirect(x.w, x.r, path, status)
}

func (x *exchange) plain(status int, text string) {
	x.send(status, "text/plain; charset=utf-8", []byte(text))
}

func (x *exchange) empty(status int) {
	x.seen.answerEnds()
	x.w.WriteHeader(status)
}
