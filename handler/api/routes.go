package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// route is one row of the table: an endpoint of Ollama's that is let through. A request
// reaches Ollama only on such a route, under the path that stands here.
type route struct {
	Name    string // its path, and its label in the metrics
	methods []string
	Class   signer.Class  // which keys may use it
	Dialect Dialect       // of its errors
	Models  models.Source // where a request names its model
	Upload  bool          // the body streams to Ollama's disk: --max-body does not bind it
	Reach   fanout        // which of several Ollamas get its requests

	LastWord LastWord // with which its streams end

	Id    int    // its place in RouteNames
	Allow string // its methods, for the header Allow
}

// Routes is the table of all that is let through. In a name that ends in {…}, the braces
// stand for any one path segment but "." and "..".
//
// These are left out on purpose, since they act with the host's account at ollama.com:
// /api/me, /api/signout, /api/user/… and /api/experimental/….
var Routes = newTable([]route{
	{Name: "/v1/chat/completions", methods: post, Class: signer.Chat, Dialect: openAI, Models: models.InModel, LastWord: doneMark},
	{Name: "/v1/completions", methods: post, Class: signer.Chat, Dialect: openAI, Models: models.InModel, LastWord: doneMark},
	{Name: "/v1/responses", methods: post, Class: signer.Chat, Dialect: responses, Models: models.InModel, LastWord: responseEnd},
	{Name: "/v1/messages", methods: post, Class: signer.Chat, Dialect: anthropic, Models: models.InModel, LastWord: messageStop},
	{Name: "/v1/audio/transcriptions", methods: post, Class: signer.Chat, Dialect: openAI, Models: models.InForm},
	{Name: "/api/chat", methods: post, Class: signer.Chat, Dialect: Native, Models: models.InModel, LastWord: doneTrue},
	{Name: "/api/generate", methods: post, Class: signer.Chat, Dialect: Native, Models: models.InModel, LastWord: doneTrue},

	{Name: "/v1/embeddings", methods: post, Class: signer.Embed, Dialect: openAI, Models: models.InModel},
	{Name: "/api/embed", methods: post, Class: signer.Embed, Dialect: Native, Models: models.InModel},
	{Name: "/api/embeddings", methods: post, Class: signer.Embed, Dialect: Native, Models: models.InModel},

	{Name: "/v1/models", methods: get, Class: signer.Models, Dialect: openAI, Models: models.InAnswer, Reach: everyone},
	{Name: "/v1/models/{model}", methods: get, Class: signer.Models, Dialect: openAI, Models: models.InPath},
	{Name: "/api/tags", methods: getHead, Class: signer.Models, Dialect: Native, Models: models.InAnswer, Reach: everyone},
	{Name: "/api/version", methods: getHead, Class: signer.Models, Dialect: Native},
	{Name: "/api/status", methods: get, Class: signer.Models, Dialect: Native},
	{Name: "/", methods: getHead, Class: signer.Models, Dialect: Native},
	{Name: "/api/ps", methods: get, Class: signer.Models, Dialect: Native, Models: models.InAnswer, Reach: everyone},
	{Name: "/api/show", methods: post, Class: signer.Models, Dialect: Native, Models: models.InModelOrName},

	{Name: "/api/pull", methods: post, Class: signer.Admin, Dialect: Native, Models: models.InManaged, Reach: everyone, LastWord: success},
	{Name: "/api/push", methods: post, Class: signer.Admin, Dialect: Native, Models: models.InPushed, LastWord: success},
	{Name: "/api/create", methods: post, Class: signer.Admin, Dialect: Native, Models: models.InModelAndFrom, Reach: TheNamed, LastWord: success},
	{Name: "/api/copy", methods: post, Class: signer.Admin, Dialect: Native, Models: models.InCopy, Reach: everyone},
	{Name: "/api/delete", methods: del, Class: signer.Admin, Dialect: Native, Models: models.InManaged, Reach: everyone},
	{Name: "/api/blobs/{digest}", methods: headPost, Class: signer.Admin, Dialect: Native, Models: models.Unknown, Upload: true, Reach: TheNamed},

	{Name: "/v1/key", methods: get, Class: Any, Dialect: openAI}, // never reaches Ollama
})

// Any is in place of a class on a route that is open to every valid key, whatever classes it
// was narrowed to.
const Any signer.Class = "any"

var (
	post     = []string{http.MethodPost}
	get      = []string{http.MethodGet}
	getHead  = []string{http.MethodGet, http.MethodHead}
	headPost = []string{http.MethodHead, http.MethodPost}
	del      = []string{http.MethodDelete}
)

// Other is the label, in metrics and log, of all paths that no route has.
const Other = "other"

// RouteNames returns the names of all routes in the order of the table, and [Other] at
// the end. A Recorder gets a route as an index into this list.
func RouteNames() []string {
	names := make([]string, 0, len(Routes.All)+1)
	for _, r := range Routes.All {
		names = append(names, r.Name)
	}
	return append(names, Other)
}

// NameOf returns the route's name for metrics and log; for nil that is [Other].
func NameOf(r *route) string {
	if r == nil {
		return Other
	}
	return r.Name
}

// table is a router that matches paths byte for byte. http.ServeMux does not do: it cleans
// and decodes paths, and answers HEAD where only GET is named.
type table struct {
	All      []*route
	Literal  map[string]*route
	wildcard []*route
}

func newTable(rows []route) table {
	t := table{Literal: map[string]*route{}}
	for i := range rows {
		r := &rows[i]
		r.Id, r.Allow = i, strings.Join(r.methods, ", ")
		t.All = append(t.All, r)
		if strings.HasSuffix(r.Name, "}") {
			t.wildcard = append(t.wildcard, r)
		} else {
			t.Literal[r.Name] = r
		}
	}
	return t
}

// Match is the route of a request, and the path to ask Ollama for.
type Match struct {
	Route   *route // nil: to no route
	Path    string // what Ollama is asked for
	RawPath string // the same, encoded; "" where that makes no difference
	Segment string // what stands for {…} in the route's name
}

// Find returns the route that has the URL's path, or a Match whose Route is nil. The path
// for Ollama is made from the table and, where the route has a {…}, from one segment that
// is decoded and encoded again: nothing else that a client writes into a path leaves the
// proxy.
func (t *table) Find(u *url.URL) Match {
	if r := t.Literal[u.Path]; r != nil && (u.RawPath == "" || u.RawPath == u.Path) {
		return Match{Route: r, Path: r.Name}
	}
	escaped := u.EscapedPath()
	for _, r := range t.wildcard {
		prefix := r.Name[:strings.IndexByte(r.Name, '{')]
		rest, ok := strings.CutPrefix(escaped, prefix)
		if !ok {
			continue
		}
		segment, err := url.PathUnescape(rest)
		if err != nil || strings.Contains(rest, "/") || !isSegment(segment) {
			return Match{}
		}
		return Match{r, prefix + segment, prefix + url.PathEscape(segment), segment}
	}
	return Match{}
}

// isSegment reports whether every server reads the decoded text as one path segment: it
// has no separators and no control characters, and leads to no parent directory.
func isSegment(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '/' || r == '\\' || r < ' ' || r == 0x7f
	})
}

// HasEvents reports whether the route streams server-sent events if a request asks for a
// stream.
func (r *route) HasEvents() bool {
	return r.Class == signer.Chat && r.Dialect != Native && r.Models == models.InModel
}

// HostsTools reports whether Ollama itself runs some tools, such as a web search, for
// requests on the route. It does that with its host's account.
func (r *route) HostsTools() bool { return r.Dialect == anthropic || r.Dialect == responses }

// Permits reports whether the table has the method for the route.
func (r *route) Permits(method string) bool {
	for _, m := range r.methods {
		if m == method {
			return true
		}
	}
	return false
}
