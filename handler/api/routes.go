package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// route is one way in. A request reaches Ollama only on a route of this table,
// under the path that stands here.
type route struct {
	Name    string // its path, and its label in the metrics
	methods []string
	Class   signer.Class
	Dialect Dialect
	Models  models.Source
	Upload  bool // streams to Ollama's disk: --max-body does not bind it
	Reach   fanout

	LastWord LastWord // of its streams

	Id    int    // its place in RouteNames
	Allow string // what a 405 says
}

// A name that ends in {…} takes one path segment more, any but "." and "..".
//
// Left out on purpose, because they act with the host's ollama.com account:
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

// Other stands for every path that is not in the table, in the metrics only.
const Other = "other"

// RouteNames lists the names of all routes, and last the one that stands for
// every other path. A Recorder is told of a route by its place in this list.
func RouteNames() []string {
	names := make([]string, 0, len(Routes.All)+1)
	for _, r := range Routes.All {
		names = append(names, r.Name)
	}
	return append(names, Other)
}

// NameOf is the name that the route goes by in the metrics and the log.
func NameOf(r *route) string {
	if r == nil {
		return Other
	}
	return r.Name
}

// table finds routes by path. http.ServeMux would clean paths, redirect and
// decode them, and answer HEAD where only GET is named; here a path is let
// through as it stands in the table, byte for byte, or not at all.
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

// Match is where a request's path leads.
type Match struct {
	Route   *route // nil: to no route
	Path    string // what Ollama is asked for
	RawPath string // the same, encoded; "" where that makes no difference
	Segment string // what stands for {…} in the route's name
}

// Find tells where u's path leads. The path to ask Ollama for is made from the
// table and from one decoded segment, encoded anew: nothing else that a client
// writes into a path leaves the proxy.
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

// isSegment keeps out what another server could take for more than one
// segment, or for a way up.
func isSegment(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '/' || r == '\\' || r < ' ' || r == 0x7f
	})
}

// HasEvents reports whether the route answers with server-sent events where a
// request asks for a stream.
func (r *route) HasEvents() bool {
	return r.Class == signer.Chat && r.Dialect != Native && r.Models == models.InModel
}

// HostsTools reports whether Ollama itself runs tools of some types for the
// requests on the route, as the account of its host.
func (r *route) HostsTools() bool { return r.Dialect == anthropic || r.Dialect == responses }

// Permits reports whether the route takes the method.
func (r *route) Permits(method string) bool {
	for _, m := range r.methods {
		if m == method {
			return true
		}
	}
	return false
}
