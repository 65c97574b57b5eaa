package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
)

func TestCORS(t *testing.T) {
	t.Parallel()
	wrap, err := server.AllowOrigins([]string{"https://chat.example.com", "https://*.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	closed, s := handlertest.Start(t, handlertest.Config{}), handlertest.Start(t, handlertest.Config{CORS: wrap})
	preflight := func(origin string) []string {
		return []string{"Origin: " + origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,x-stainless-lang"}
	}
	for _, row := range []struct {
		name    string
		s       *handlertest.Site
		method  string
		headers []string
		status  int
		allowed string
	}{
		{"a preflight needs no key", s, "OPTIONS", preflight("https://chat.example.com"), 204, "https://chat.example.com"},
		{"a subdomain", s, "OPTIONS", preflight("https://a.example.org"), 204, "https://a.example.org"},
		{"another origin", s, "OPTIONS", preflight("https://evil.example"), 403, ""},
		{"a look-alike", s, "OPTIONS", preflight("https://chat.example.com.evil.example"), 403, ""},
		{"http", s, "OPTIONS", preflight("http://chat.example.com"), 403, ""},
		{"null", s, "OPTIONS", preflight("null"), 403, ""},
		{"OPTIONS that is no preflight", s, "OPTIONS", []string{"Origin: https://chat.example.com"}, 401, "https://chat.example.com"},
		{"no key", s, "POST", []string{"Origin: https://chat.example.com"}, 401, "https://chat.example.com"},
		{"a key", s, "POST", []string{"Origin: https://chat.example.com", handlertest.Bearer(s.Key)}, 200, "https://chat.example.com"},
		{"a key, another origin", s, "POST", []string{"Origin: https://evil.example", handlertest.Bearer(s.Key)}, 200, ""},
		{"nothing allowed", closed, "OPTIONS", preflight("https://chat.example.com"), 401, ""},
		{"nothing allowed, a key", closed, "POST", []string{"Origin: https://chat.example.com", handlertest.Bearer(closed.Key)}, 200, ""},
	} {
		w := row.s.Dial(t)
		w.Send(row.method, "/api/chat", handlertest.Chats[0].Ask("llama3.2", false), row.headers...)
		got := w.Answer(row.method)
		if got.Status != row.status && !(row.status == 204 && got.Status == http.StatusOK) {
			t.Errorf("%s: %s", row.name, got)
		}
		if allowed := got.Header.Get("Access-Control-Allow-Origin"); allowed != row.allowed {
			t.Errorf("%s: allowed for %q", row.name, allowed)
		}
		if got.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: cookies are asked for", row.name)
		}
		for _, seen := range row.s.Ollama.Seen() {
			if seen.Header.Get("Origin") != "" {
				t.Errorf("%s: Ollama sees the origin", row.name)
			}
		}
	}
}

// What the clients of OpenAI, Anthropic and Ollama send from a page needs
// permission header by header. Nobody gives it to cookies.
func TestPreflightsOfClients(t *testing.T) {
	t.Parallel()
	const origin = "https://chat.example.com"
	for _, allow := range []string{origin, "*"} {
		wrap, err := server.AllowOrigins([]string{allow})
		if err != nil {
			t.Fatal(err)
		}
		s := handlertest.Start(t, handlertest.Config{CORS: wrap})
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
			for _, asked := range []string{
				"authorization", "content-type", "x-api-key",
				"accept,authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-package-version," +
					"x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout,openai-organization,openai-project,openai-beta",
				"anthropic-beta,anthropic-dangerous-direct-browser-access,anthropic-version,content-type,x-api-key,x-stainless-helper-method",
				"x-of-our-own",
			} {
				w := s.Dial(t)
				w.Send("OPTIONS", "/v1/messages", "", "Origin: "+origin, "Access-Control-Request-Method: "+method, "Access-Control-Request-Headers: "+asked)
				got := w.Answer("OPTIONS")
				if !permits(got.Header, origin, method, asked) {
					t.Errorf("%s %s from %s: %s %v", method, asked, allow, got, got.Header)
				}
			}
		}
		w := s.Dial(t)
		w.Send("OPTIONS", "/v1/messages", "", "Origin: "+origin, "Access-Control-Request-Method: PUT")
		if got := w.Answer("OPTIONS"); permits(got.Header, origin, "PUT", "") {
			t.Errorf("PUT from %s: %s %v", allow, got, got.Header)
		}
		w = s.Dial(t)
		w.Send("POST", "/v1/messages", "{}", "Origin: "+origin)
		got := w.Answer("POST")
		if shown := got.Header.Get("Access-Control-Expose-Headers"); !permits(got.Header, origin, "", "") || !lists(shown, "x-request-id") || !lists(shown, "retry-after") || !lists(shown, "x-should-retry") {
			t.Errorf("from %s: %s %v", allow, got, got.Header)
		}
		s.ExpectNoRequest(t)
	}
}

// permits decides as a browser does for a request without cookies, see
// https://fetch.spec.whatwg.org/#cors-preflight-fetch.
func permits(h http.Header, origin, method, headers string) bool {
	if allowed := h.Get("Access-Control-Allow-Origin"); allowed != origin && allowed != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
		return false
	}
	if method != "" && method != "GET" && method != "HEAD" && method != "POST" && !lists(h.Get("Access-Control-Allow-Methods"), method) {
		return false
	}
	for name := range strings.SplitSeq(headers, ",") {
		allowed := h.Get("Access-Control-Allow-Headers")
		if name != "" && !lists(allowed, name) && (name == "authorization" || !lists(allowed, "*")) {
			return false
		}
	}
	return true
}

func lists(list, name string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.TrimSpace(one), name) {
			return true
		}
	}
	return false
}

// Browsers ask nobody before they open a WebSocket.
func TestWebSocketsOfPages(t *testing.T) {
	t.Parallel()
	wrap, err := server.AllowOrigins([]string{"https://chat.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	s := handlertest.Start(t, handlertest.Config{CORS: wrap})
	for _, origin := range []string{"https://chat.example.com", "https://evil.example"} {
		upgrade := []string{"Origin: " + origin, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
		for _, path := range []string{"/", "/api/tags", "/api/chat", "/v1/chat/completions", "/v1/realtime"} {
			w := s.Dial(t)
			w.Send("GET", path, "", upgrade...)
			if got := w.Answer("GET"); got.Status != http.StatusUnauthorized {
				t.Errorf("%s from %s: %s", path, origin, got)
			}
		}
		s.ExpectNoRequest(t)
	}
	// With a key, which no page can send in this way, it learns that there are none.
	w := s.Dial(t)
	w.Send("GET", "/api/tags", "", "Origin: https://evil.example", "Connection: Upgrade", "Upgrade: websocket", handlertest.Bearer(s.Key))
	if got := w.Answer("GET"); got.Status != http.StatusUpgradeRequired {
		t.Errorf("with a key: %s", got)
	}
	s.ExpectNoRequest(t)
}

func TestInvalidOrigins(t *testing.T) {
	t.Parallel()
	for _, origin := range []string{"", "chat.example.com", "https://chat.example.com/", "https://*", "null"} {
		if _, err := server.AllowOrigins([]string{origin}); err == nil {
			t.Errorf("%q is allowed", origin)
		}
	}
}
