package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// policy is what is let through: everything else is not. A path that ends in
// {} stands for those with any one segment there.
var policy = []struct {
	path    string
	methods string
	admin   bool
}{
	{"/v1/chat/completions", "POST", false},
	{"/v1/completions", "POST", false},
	{"/v1/responses", "POST", false},
	{"/v1/messages", "POST", false},
	{"/v1/audio/transcriptions", "POST", false},
	{"/api/chat", "POST", false},
	{"/api/generate", "POST", false},

	{"/v1/embeddings", "POST", false},
	{"/api/embed", "POST", false},
	{"/api/embeddings", "POST", false},

	{"/v1/models", "GET", false},
	{"/v1/models/tiny", "GET", false},
	{"/v1/models/library:tiny", "GET", false},
	{"/api/tags", "GET, HEAD", false},
	{"/api/version", "GET, HEAD", false},
	{"/api/status", "GET", false},
	{"/", "GET, HEAD", false},
	{"/api/ps", "GET", false},
	{"/api/show", "POST", false},

	{"/api/pull", "POST", true},
	{"/api/push", "POST", true},
	{"/api/create", "POST", true},
	{"/api/copy", "POST", true},
	{"/api/delete", "DELETE", true},
	{"/api/blobs/sha256:0000", "HEAD, POST", true},

	{"/v1/key", "GET", false},
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"}

// form is a body that can be read on any route, so that it is the route alone
// that decides.
const form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ntiny\r\n--b--\r\n"

// TestPolicy tries every method on every path without a key, with an ordinary key and
// with an ADMIN key, and checks what reaches Ollama.
func TestPolicy(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	arrived := 0
	keys := map[string]string{"no": "X-No: key", "bad": handlertest.Bearer("OLLAMA-" + s.Key[20:]), "ordinary": handlertest.Bearer(s.Key), "admin": handlertest.Bearer(s.Admin)}
	for _, p := range policy {
		listed := strings.Split(p.methods, ", ")
		for _, method := range methods {
			for name, key := range keys {
				w := s.Dial(t)
				w.Send(method, p.path, form, key, "Content-Type: multipart/form-data; boundary=b")
				got := w.Answer(method)
				w.Close()
				want := 0
				switch {
				case name == "no" || name == "bad":
					want = 401
				case !slices.Contains(listed, method):
					want = 405
				case p.admin && name != "admin":
					want = 403
				}
				what := fmt.Sprintf("%s %s with %s key", method, p.path, name)
				if want == 0 && (p.path == "/api/status" || p.path == "/v1/key") {
					if got.Status != 200 {
						t.Errorf("%s: %s", what, got)
					}
					continue
				}
				if want == 0 {
					arrived++
					seen := s.AwaitRequest(t, arrived)
					if seen.Method != method || seen.URI != p.path {
						t.Errorf("%s arrived as %s %s", what, seen.Method, seen.URI)
					}
					continue
				}
				if got.Status != want || got.Err != nil {
					t.Errorf("%s: %s", what, got)
				}
				if allow := got.Header.Get("Allow"); want == 405 && allow != p.methods || want != 405 && allow != "" {
					t.Errorf("%s: Allow %q", what, allow)
				}
				if method != "HEAD" {
					handlertest.ErrorIn(t, p.path, got.Body)
				} else if got.Body != "" {
					t.Errorf("%s: a body of %q", what, got.Body)
				}
			}
		}
	}
	if n := len(s.Ollama.Seen()); n != arrived {
		t.Errorf("%d requests reached Ollama, %d were let through", n, arrived)
	}
}

// TestPolicyListsAllRoutes: the table of this test has the same routes as package api.
func TestPolicyListsAllRoutes(t *testing.T) {
	t.Parallel()
	var named []string
	for _, p := range policy {
		name := p.path
		if strings.HasPrefix(name, "/v1/models/") {
			name = "/v1/models/{model}"
		}
		if strings.HasPrefix(name, "/api/blobs/") {
			name = "/api/blobs/{digest}"
		}
		if !slices.Contains(named, name) {
			named = append(named, name)
		}
	}
	if got, want := api.RouteNames(), append(named, "other"); !slices.Equal(got, want) {
		t.Errorf("routes\n%q, not\n%q", got, want)
	}
}

// TestOtherPaths: where a path that is not in the table byte for byte reaches Ollama; ""
// stands for nowhere. Targets are sent as they stand here.
func TestOtherPaths(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	arrived := 0
	for _, c := range []struct{ method, target, arrives string }{
		// Ollama's own account, on ollama.com, and what else is not in the table.
		{"POST", "/api/me", ""}, {"POST", "/api/signout", ""}, {"GET", "/api/user/keys/x", ""}, {"DELETE", "/api/user/keys/x", ""},
		{"POST", "/api/experimental/web_search", ""}, {"GET", "/api", ""}, {"GET", "/api/", ""}, {"GET", "/v1", ""}, {"GET", "/v1/", ""},
		{"GET", "/metrics", ""}, {"GET", "/healthz", ""}, {"GET", "/readyz", ""}, {"GET", "/debug/pprof/", ""}, {"GET", "/favicon.ico", ""},
		{"GET", "/api/blobs/sha256:00", ""},

		// Ollama decodes a path before it looks at it; here it is none of the table's.
		{"GET", "/api%2ftags", ""}, {"GET", "/api%2Ftags", ""}, {"GET", "/%61pi/tags", ""}, {"GET", "/api/%74ags", ""}, {"GET", "/api/tag%73", ""},
		{"DELETE", "/api/%64elete", ""}, {"POST", "/api/chat%2F..%2Fdelete", ""}, {"POST", "/api/chat%00", ""}, {"GET", "%2Fapi/tags", ""},
		{"GET", "/api%5ctags", ""}, {"GET", "/%2e/api/tags", ""}, {"GET", "/%2e%2e/api/tags", ""}, {"GET", "/api/tags%20", ""}, {"GET", "/api/tags%0a", ""},
		{"GET", "/api%252ftags", ""}, {"GET", "/api/tags%3f", ""}, {"GET", "/api/tags%23", ""},

		// It redirects these.
		{"GET", "//api/tags", ""}, {"GET", "//", ""}, {"GET", "/api//tags", ""}, {"GET", "/./api/tags", ""}, {"GET", "/api/./tags", ""},
		{"GET", "/v1/../api/tags", ""}, {"DELETE", "/v1/../api/delete", ""}, {"GET", "/api/tags/", ""}, {"GET", "/api/tags/.", ""},
		{"POST", "/api/chat/", ""}, {"POST", "/api/chat/..", ""}, {"POST", "/api/chat/../delete", ""}, {"GET", "/api/version/..", ""}, {"GET", "/v1/models/", ""},

		// And these are something else to some server or other.
		{"GET", "/API/TAGS", ""}, {"GET", "/Api/tags", ""}, {"GET", "/api/Tags", ""}, {"GET", "/api/tags;x", ""}, {"GET", "/api/tags;x=1?y", ""}, {"GET", "/;/api/tags", ""},
		{"GET", "/api\\tags", ""}, {"GET", "\\api\\tags", ""}, {"GET", "/api/tags\\", ""}, {"GET", "/api/tags#x", ""}, {"GET", "/api/tags\x00", ""}, {"GET", "/api/t\x01ags", ""},
		{"GET", "/api/tags\x7f", ""}, {"GET", "/api/tags\xff", ""}, {"GET", "/api/tags%", ""}, {"GET", "/api/tags%zz", ""}, {"GET", "api/tags", ""}, {"GET", "*", ""}, {"OPTIONS", "*", ""}, {"GET", "", ""},
		{"GET", "api.tags", ""}, {"GET", ":/api/tags", ""}, {"CONNECT", "127.0.0.1:11434", ""}, {"CONNECT", "/api/tags", ""}, {"GET", "/api/tags HTTP/1.1 x", ""}, {"PRI", "*", ""},

		// A target with a host in it names the same routes.
		{"GET", "http://evil.example/api/tags", "/api/tags"}, {"GET", "https://evil.example:1/api/tags?a=b", "/api/tags?a=b"}, {"GET", "http://evil.example/", "/"},
		{"GET", "HTTP://EVIL.EXAMPLE/api/tags", "/api/tags"}, {"GET", "http://user:password@evil.example/api/tags", "/api/tags"}, {"GET", "http://evil.example", ""},
		{"GET", "http://evil.example//api/tags", ""}, {"GET", "http://evil.example/api%2ftags", ""}, {"GET", "http:///api/tags", "/api/tags"}, {"GET", "http:/api/tags", "/api/tags"},
		{"GET", "http:api/tags", ""}, {"GET", "ollama://x/api/me", ""}, {"GET", "http://evil.example/../api/me", ""}, {"GET", "//evil.example/api/tags", ""},

		// A query is passed as it is; a "?" alone is none.
		{"GET", "/api/tags?", "/api/tags"}, {"GET", "/api/tags?a=b&a=c;d=e", "/api/tags?a=b&a=c;d=e"}, {"GET", "/?x", "/?x"}, {"GET", "/api/tags??", "/api/tags??"},
		{"GET", "/api/tags?%zz&%00&\\", "/api/tags?%zz&%00&\\"}, {"GET", "/api/tags?/../me", "/api/tags?/../me"}, {"GET", "/api/me?/api/tags", ""}, {"GET", "?/api/tags", ""},
		{"GET", "/api/tags?a#b", "/api/tags?a#b"},

		// One segment stands for {model}, decoded and encoded anew.
		{"GET", "/v1/models/tiny", "/v1/models/tiny"}, {"GET", "/v1/models/tiny:latest", "/v1/models/tiny:latest"}, {"GET", "/v1/models/tiny%3Alatest", "/v1/models/tiny:latest"},
		{"GET", "/v1/models/%74iny", "/v1/models/tiny"}, {"GET", "/v1/models/tiny%20", "/v1/models/tiny%20"}, {"GET", "/v1/models/tiny?q=/", "/v1/models/tiny?q=/"},

		// These are no model's name.
		{"GET", "/v1/models/tiny%20x", ""}, {"GET", "/v1/models/tiny;x", ""}, {"GET", "/v1/models/tiny%3Fx", ""}, {"GET", "/v1/models/tiny%23x", ""},
		{"GET", "/v1/models/%252e%252e", ""}, {"GET", "/v1/models/...", ""}, {"GET", "/v1/models/a%252fb", ""}, {"GET", "/v1/models/caf%c3%a9", ""},

		{"GET", "/v1/models/a/b", ""}, {"GET", "/v1/models/a%2fb", ""}, {"GET", "/v1/models/a%2Fb", ""}, {"GET", "/v1/models/..%2f..%2fapi%2fdelete", ""}, {"GET", "/v1/models/..%2f..%2fapi%2ftags", ""},
		{"GET", "/v1/models/.", ""}, {"GET", "/v1/models/..", ""}, {"GET", "/v1/models/%2e", ""}, {"GET", "/v1/models/%2e%2e", ""}, {"GET", "/v1/models/.%2e", ""}, {"GET", "/v1/models/../tags", ""}, {"GET", "/v1/models/tiny/", ""},
		{"GET", "/v1/models//", ""}, {"GET", "/v1/models//tiny", ""}, {"GET", "/v1//models/tiny", ""}, {"GET", "/v1/models%2ftiny", ""}, {"GET", "/v1/model%73/tiny", ""}, {"GET", "/v1/models/tiny%00", ""}, {"GET", "/v1/models/tiny%0d%0ax", ""},
		{"GET", "/v1/models/%5c..%5capi", ""}, {"GET", "/v1/models/a\\b", ""}, {"GET", "/v1/models/%", ""}, {"GET", "/v1/models/%7f", ""}, {"GET", "/V1/models/tiny", ""}, {"GET", "/v1/models/%2f", ""},
		{"HEAD", "/api/blobs/../tags", ""}, {"HEAD", "/api/blobs/..%2ftags", ""}, {"HEAD", "/api/blobs/", ""}, {"HEAD", "/api/blobs", ""},
	} {
		for _, key := range []string{"X-No: key", handlertest.Bearer("OLLAMA-ADMIN-" + s.Key[20:]), handlertest.Bearer(s.Admin)} {
			w := s.Dial(t)
			// No client library would send some of these.
			w.Writef("%s", c.method+" "+c.target+" HTTP/1.1\r\nHost: proxy.example\r\n"+key+"\r\n\r\n")
			got := w.Answer(c.method)
			w.Close()
			if c.arrives != "" && key == handlertest.Bearer(s.Admin) {
				arrived++
				if seen := s.AwaitRequest(t, arrived); seen.URI != c.arrives || seen.Method != c.method {
					t.Errorf("%s %q arrived as %s %q, not %q", c.method, c.target, seen.Method, seen.URI, c.arrives)
				}
				continue
			}
			// net/http refuses what is no request at all before it looks for a key.
			want := []int{400, 401, 505}
			if key == handlertest.Bearer(s.Admin) {
				want = []int{301, 307, 400, 404, 405, 505} // TestRedirects has those that are redirected
			}
			if !slices.Contains(want, got.Status) || got.Err != nil {
				t.Errorf("%s %q with %.20s…: %s", c.method, c.target, key, got)
			}
		}
		if n := len(s.Ollama.Seen()); n != arrived {
			t.Fatalf("%s %q reached Ollama as %q", c.method, c.target, s.Ollama.Seen()[n-1].URI)
		}
	}
}

// TestAnswersWithoutAKeyAreEqual: on all paths and with all methods, whether they exist
// or not.
func TestAnswersWithoutAKeyAreEqual(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for _, dialect := range [][]string{
		{"/", "/api/tags", "/api/chat", "/api/delete", "/api/me", "/api/blobs/x", "/nothing", "//api/tags", "/api/%74ags", "/metrics", "*", "http://x/api/tags"},
		{"/v1/models", "/v1/models/tiny", "/v1/chat/completions", "/v1/responses", "/v1/nothing", "/v1/models/a/b"},
		{"/v1/messages", "/v1/messages/count_tokens"},
	} {
		var first handlertest.Answer
		for i, path := range dialect {
			for j, method := range []string{"GET", "POST", "DELETE", "OPTIONS", "PUT"} {
				w := s.Dial(t)
				w.Send(method, path, "")
				got := anonymous(w.Answer(method))
				if i+j == 0 {
					first = got
				}
				if got.Status != 401 || got.Body != first.Body || fmt.Sprint(got.Header) != fmt.Sprint(first.Header) {
					t.Errorf("%s %s: %s %q %v", method, path, got, got.Body, got.Header)
				}
			}
		}
		handlertest.ErrorIn(t, dialect[0], first.Body)
	}
	s.ExpectNoRequest(t)
}

// anonymous takes out of an error answer what names the request.
func anonymous(a handlertest.Answer) handlertest.Answer {
	if id := a.Header.Get("X-Request-Id"); id != "" {
		a.Body = strings.ReplaceAll(a.Body, id, "ID")
		a.Header.Set("X-Request-Id", "ID")
	}
	a.Header.Del("Date")
	return a
}

// TestRedirectsAreNotFollowed: the client decides whether to follow one.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/tags" {
			t.Errorf("Ollama was asked for %s", r.URL.Path)
		}
		http.Redirect(w, r, "/api/me", http.StatusTemporaryRedirect)
	})})
	if got := s.Ask(t, "GET", "/api/tags", ""); got.Status != 307 || got.Header.Get("Location") != "/api/me" {
		t.Errorf("%s %v", got, got.Header)
	}
}
