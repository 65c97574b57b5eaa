package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// TestAKeyThatWasGenuineIsToldWhy, and nobody else is: of a key that was forged as
// well, it would tell an outsider which ids there are.
func TestAKeyThatWasGenuineIsToldWhy(t *testing.T) {
	t.Parallel()
	verifier := signer.NewVerifier()
	s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) {
		verifier = o.Keys.(*signer.Verifier)
	}})
	revoked, expired := s.Mint(false), s.Mint(false, fmt.Sprint("exp=", time.Now().Add(-time.Second).Unix()))
	both := expired // it expired first
	claims, err := signer.Inspect(revoked)
	if err != nil {
		t.Fatal(err)
	}
	list, err := signer.ParseRevocations(strings.NewReader(claims.ID.String()))
	if err != nil {
		t.Fatal(err)
	}
	verifier.SetRevocations(list)
	bend := func(key string) string { return key[:len(key)-5] + "AAAAA" }
	for _, c := range []struct{ name, key, message, reason string }{
		{"expired", expired, "the API key has expired", "expired"},
		{"expired and forged", bend(both), "missing or invalid API key", "bad_signature"},
		{"revoked", revoked, "the API key has been revoked", "revoked"},
		{"made from a revoked one", narrow(t, revoked), "the API key has been revoked", "revoked"},
		{"revoked and forged", bend(revoked), "missing or invalid API key", "bad_signature"},
		{"revoked, and called an admin's", strings.Replace(revoked, "OLLAMA-", "OLLAMA-ADMIN-", 1), "missing or invalid API key", "bad_signature"},
	} {
		for _, path := range []string{"/api/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/nowhere"} {
			w := s.Dial(t)
			w.Send("POST", path, "{}", handlertest.Bearer(c.key))
			got := w.Answer("POST")
			w.Close()
			message, _ := handlertest.ErrorIn(t, path, got.Body)
			if got.Status != 401 || message != c.message || got.Header.Get("X-Should-Retry") != "false" || got.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s, %s: %s %q %v", c.name, path, got, message, got.Header)
			}
			s.Spy.Idle(t)
			if reasons := s.Spy.Texts("Refused"); reasons[len(reasons)-1] != c.reason {
				t.Errorf("%s: recorded as %q", c.name, reasons[len(reasons)-1])
			}
		}
	}
	s.ExpectNoRequest(t)
}

// TestWhatARetryCannotCure is refused for good; all else may be tried again, and what
// Ollama says of itself passes as it is.
func TestWhatARetryCannotCure(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{
		Proxy: func(o *handler.Options) { o.MaxBody = 100 },
		Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/api/ps":
				panic(http.ErrAbortHandler)
			case "/api/version":
				w.Header().Set("X-Should-Retry", "true")
			}
			w.WriteHeader(http.StatusNotFound)
		}),
	})
	once := s.Mint(false, "rpm=1", "routes=chat,models")
	for _, c := range []struct {
		name, method, path, body, key string
		status                        int
		again                         string
	}{
		{"no key", "GET", "/api/tags", "", "", 401, "false"},
		{"a body that is no JSON", "POST", "/api/chat", `{"model": "a b"}`, s.Key, 400, "false"},
		{"not for the key", "POST", "/api/create", "{}", s.Key, 403, "false"},
		{"no route", "GET", "/nowhere", "", s.Key, 404, "false"},
		{"another method", "PUT", "/api/chat", "{}", s.Key, 405, "false"},
		{"too long", "POST", "/api/chat", strings.Repeat(" ", 101), s.Key, 413, "false"},
		{"Ollama's own 404", "GET", "/api/tags", "", once, 404, ""},
		{"no requests left", "GET", "/api/tags", "", once, 429, ""},
		{"Ollama breaks off", "GET", "/api/ps", "", s.Key, 502, ""},
		{"Ollama says so", "GET", "/api/version", "", s.Key, 404, "true"},
	} {
		w := s.Dial(t)
		w.Send(c.method, c.path, c.body, handlertest.Bearer(c.key))
		got := w.Answer(c.method)
		w.Close()
		if again := got.Header.Get("X-Should-Retry"); got.Status != c.status || again != c.again {
			t.Errorf("%s: %s, X-Should-Retry %q", c.name, got, again)
		}
	}
}
