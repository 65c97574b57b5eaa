package handler_test

import (
	"net/http"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
)

func TestCORS(t *testing.T) {
	t.Parallel()
	wrap, err := handler.AllowOrigins([]string{"https://chat.example.com", "https://*.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	closed, s := start(t, config{}), start(t, config{cors: wrap})
	preflight := func(origin string) []string {
		return []string{"Origin: " + origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,x-stainless-lang"}
	}
	for _, row := range []struct {
		name    string
		s       *site
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
		{"a key", s, "POST", []string{"Origin: https://chat.example.com", bearer(s.key)}, 200, "https://chat.example.com"},
		{"a key, another origin", s, "POST", []string{"Origin: https://evil.example", bearer(s.key)}, 200, ""},
		{"nothing allowed", closed, "OPTIONS", preflight("https://chat.example.com"), 401, ""},
		{"nothing allowed, a key", closed, "POST", []string{"Origin: https://chat.example.com", bearer(closed.key)}, 200, ""},
	} {
		w := row.s.dial(t)
		w.send(row.method, "/api/chat", chats[0].ask("llama3.2", false), row.headers...)
		got := w.answer(row.method)
		if got.status != row.status && !(row.status == 204 && got.status == http.StatusOK) {
			t.Errorf("%s: %s", row.name, got)
		}
		if allowed := got.header.Get("Access-Control-Allow-Origin"); allowed != row.allowed {
			t.Errorf("%s: allowed for %q", row.name, allowed)
		}
		if got.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: cookies are asked for", row.name)
		}
		for _, seen := range row.s.ollama.Seen() {
			if seen.Header.Get("Origin") != "" {
				t.Errorf("%s: Ollama sees the origin", row.name)
			}
		}
	}
}

func TestOriginsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for _, origin := range []string{"", "chat.example.com", "https://chat.example.com/", "https://*", "null"} {
		if _, err := handler.AllowOrigins([]string{origin}); err == nil {
			t.Errorf("%q is allowed", origin)
		}
	}
}
