package handler

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// route is one way in. A request reaches Ollama only on a route of this table,
// under the path that stands here.
type route struct {
	name    string // its path, and its label in the metrics
	methods []string
	class   signer.Class
	dialect dialect
	models  modelSource
	upload  bool // streams to Ollama's disk: --max-body does not bind it
	reach   reach

	lastWord lastWord // of its streams

	id    int    // its place in RouteNames
	allow string // what a 405 says
}

// A name that ends in {…} takes one path segment more, any but "." and "..".
//
// Left out on purpose, because they act with the host's ollama.com account:
// /api/me, /api/signout, /api/user/… and /api/experimental/….
var routes = newTable([]route{
	{name: "/v1/chat/completions", methods: post, class: signer.Chat, dialect: openAI, models: inModel, lastWord: doneMark},
	{name: "/v1/completions", methods: post, class: signer.Chat, dialect: openAI, models: inModel, lastWord: doneMark},
	{name: "/v1/responses", methods: post, class: signer.Chat, dialect: responses, models: inModel, lastWord: responseEnd},
	{name: "/v1/messages", methods: post, class: signer.Chat, dialect: anthropic, models: inModel, lastWord: messageStop},
	{name: "/v1/audio/transcriptions", methods: post, class: signer.Chat, dialect: openAI, models: inForm},
	{name: "/api/chat", methods: post, class: signer.Chat, dialect: native, models: inModel, lastWord: doneTrue},
	{name: "/api/generate", methods: post, class: signer.Chat, dialect: native, models: inModel, lastWord: doneTrue},

	{name: "/v1/embeddings", methods: post, class: signer.Embed, dialect: openAI, models: inModel},
	{name: "/api/embed", methods: post, class: signer.Embed, dialect: native, models: inModel},
	{name: "/api/embeddings", methods: post, class: signer.Embed, dialect: native, models: inModel},

	{name: "/v1/models", methods: get, class: signer.Models, dialect: openAI, models: inAnswer, reach: everyone},
	{name: "/v1/models/{model}", methods: get, class: signer.Models, dialect: openAI, models: inPath},
	{name: "/api/tags", methods: getHead, class: signer.Models, dialect: native, models: inAnswer, reach: everyone},
	{name: "/api/version", methods: getHead, class: signer.Models, dialect: native},
	{name: "/api/status", methods: get, class: signer.Models, dialect: native},
	{name: "/", methods: getHead, class: signer.Models, dialect: native},
	{name: "/api/ps", methods: get, class: signer.Models, dialect: native, models: inAnswer, reach: everyone},
	{name: "/api/show", methods: post, class: signer.Models, dialect: native, models: inModelOrName},

	{name: "/api/pull", methods: post, class: signer.Admin, dialect: native, models: inManaged, reach: everyone, lastWord: success},
	{name: "/api/push", methods: post, class: signer.Admin, dialect: native, models: inPushed, lastWord: success},
	{name: "/api/create", methods: post, class: signer.Admin, dialect: native, models: inModelAndFrom, reach: theNamed, lastWord: success},
	{name: "/api/copy", methods: post, class: signer.Admin, dialect: native, models: inCopy, reach: everyone},
	{name: "/api/delete", methods: del, class: signer.Admin, dialect: native, models: inManaged, reach: everyone},
	{name: "/api/blobs/{digest}", methods: headPost, class: signer.Admin, dialect: native, models: untold, upload: true, reach: theNamed},
})

var (
	post     = []string{http.MethodPost}
	get      = []string{http.MethodGet}
	getHead  = []string{http.MethodGet, http.MethodHead}
	headPost = []string{http.MethodHead, http.MethodPost}
	del      = []string{http.MethodDelete}
)

// other stands for every path that is not in the table, in the metrics only.
const other = "other"

// RouteNames lists the names of all routes, and last the one that stands for
// every other path. A Recorder is told of a route by its place in this list.
func RouteNames() []string {
	names := make([]string, 0, len(routes.all)+1)
	for _, r := range routes.all {
		names = append(names, r.name)
	}
	return append(names, other)
}

// nameOf is the name that the route goes by in the metrics and the log.
func nameOf(r *route) string {
	if r == nil {
		return other
	}
	return r.name
}

// table finds routes by path. http.ServeMux would clean paths, redirect and
// decode them, and answer HEAD where only GET is named; here a path is let
// through as it stands in the table, byte for byte, or not at all.
type table struct {
	all      []*route
	literal  map[string]*route
	wildcard []*route
}

func newTable(rows []route) table {
	t := table{literal: map[string]*route{}}
	for i := range rows {
		r := &rows[i]
		r.id, r.allow = i, strings.Join(r.methods, ", ")
		t.all = append(t.all, r)
		if strings.HasSuffix(r.name, "}") {
			t.wildcard = append(t.wildcard, r)
		} else {
			t.literal[r.name] = r
		}
	}
	return t
}

// place is where a request's path leads.
type place struct {
	route   *route // nil: to no route
	path    string // what Ollama is asked for
	rawPath string // the same, encoded; "" where that makes no difference
	segment string // what stands for {…} in the route's name
}

// find tells where u's path leads. The path to ask Ollama for is made from the
// table and from one decoded segment, encoded anew: nothing else that a client
// writes into a path leaves the proxy.
func (t *table) find(u *url.URL) place {
	if r := t.literal[u.Path]; r != nil && (u.RawPath == "" || u.RawPath == u.Path) {
		return place{route: r, path: r.name}
	}
	escaped := u.EscapedPath()
	for _, r := range t.wildcard {
		prefix := r.name[:strings.IndexByte(r.name, '{')]
		rest, ok := strings.CutPrefix(escaped, prefix)
		if !ok {
			continue
		}
		segment, err := url.PathUnescape(rest)
		if err != nil || strings.Contains(rest, "/") || !isSegment(segment) {
			return place{}
		}
		return place{r, prefix + segment, prefix + url.PathEscape(segment), segment}
	}
	return place{}
}

// isSegment keeps out what another server could take for more than one
// segment, or for a way up.
func isSegment(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '/' || r == '\\' || r < ' ' || r == 0x7f
	})
}

// hasEvents reports whether the route answers with server-sent events where a
// request asks for a stream.
func (r *route) hasEvents() bool {
	return r.class == signer.Chat && r.dialect != native && r.models == inModel
}

// hostsTools reports whether Ollama itself runs tools of some types for the
// requests on the route, as the account of its host.
func (r *route) hostsTools() bool { return r.dialect == anthropic || r.dialect == responses }

// permits reports whether the route takes the method.
func (r *route) permits(method string) bool {
	for _, m := range r.methods {
		if m == method {
			return true
		}
	}
	return false
}
