package handler_test

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// TestWhatAKeyIsFor lets keys with one caveat each try what it forbids.
func TestWhatAKeyIsFor(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for _, row := range []struct {
		caveat, method, path string
		status               int
		message              string
	}{
		{"routes=chat", "POST", "/v1/embeddings", 403, "this key is not for embed routes"},
		{"routes=chat", "GET", "/api/tags", 403, "this key is not for models routes"},
		{"routes=models,chat", "GET", "/api/tags", 200, ""},
		{"routes=chat,embed,models", "POST", "/api/pull", 403, "this key is not for admin routes"},
		{"routes=embed", "GET", "/nowhere", 404, "no such route"},
		{"from=127.0.0.0/8", "GET", "/api/tags", 200, ""},
		{"from=10.0.0.0/8,2001:db8::/32", "GET", "/api/tags", 403, "this key is not for use from your address"},
		{"exp=1", "GET", "/api/tags", 401, "missing or invalid API key"},
		{"exp=4102444800", "GET", "/api/tags", 200, ""},
		{"label=alice", "GET", "/api/tags", 200, ""},
	} {
		w := s.dial(t)
		w.send(row.method, row.path, "", bearer(s.mint(true, row.caveat)))
		got := w.answer(row.method)
		if got.status != row.status || !strings.Contains(got.body, row.message) {
			t.Errorf("%s: %s %s: %s %q", row.caveat, row.method, row.path, got, got.body)
		}
	}
}

func TestTheAddressBehindATrustedProxy(t *testing.T) {
	t.Parallel()
	near := start(t, config{})
	behind := start(t, config{proxy: func(o *options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }})
	for _, row := range []struct {
		s         *site
		forwarded string
		status    int
	}{
		{near, "198.51.100.7", 403},
		{behind, "198.51.100.7", 200},
		{behind, "198.51.100.7, 203.0.113.9", 403},
		{behind, "203.0.113.9, 198.51.100.7", 200},
		{behind, "198.51.100.7, unknown", 403},
		{behind, "", 403},
	} {
		w := row.s.dial(t)
		w.send("GET", "/api/tags", "", bearer(row.s.mint(false, "from=198.51.100.0/24")), "X-Forwarded-For: "+row.forwarded)
		if got := w.answer("GET"); got.status != row.status {
			t.Errorf("%q: %s", row.forwarded, got)
		}
	}
}

// TestTooMany: who asks too often hears when to come back, in the words of the
// route's own clients, and Ollama hears nothing.
func TestTooMany(t *testing.T) {
	t.Parallel()
	for _, c := range chats {
		s := start(t, config{})
		key := s.mint(false, "rpm=1")
		w := s.dial(t)
		w.send("POST", c.path, c.ask("tiny", false), bearer(key))
		if got := w.answer("POST"); got.status != http.StatusNotFound && got.status != http.StatusOK {
			t.Errorf("%s: the first: %s", c.path, got)
		}
		w = s.dial(t)
		w.send("POST", c.path, c.ask("tiny", false), bearer(key))
		got := w.answer("POST")
		after, err := strconv.Atoi(got.header.Get("Retry-After"))
		if got.status != http.StatusTooManyRequests || err != nil || after < 50 || after > 60 {
			t.Errorf("%s: the second: %s, Retry-After %q", c.path, got, got.header.Get("Retry-After"))
		}
		if message, _ := errorIn(t, c.path, got.body); message != "this key has no requests left for now" {
			t.Errorf("%s: %s", c.path, got.body)
		}
		if n := len(s.ollama.Seen()); n != 1 {
			t.Errorf("%s: %d requests reached Ollama", c.path, n)
		}
	}
}

func TestTooManyAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	key := s.mint(false, "streams=1")
	first := s.dial(t)
	first.send("POST", "/api/generate", `{"model":"hang","prompt":"x"}`, bearer(key))
	s.arrival(t, 1)
	second := s.dial(t)
	second.send("GET", "/api/tags", "", bearer(key))
	if got := second.answer("GET"); got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "1" {
		t.Errorf("beside another: %s", got)
	}
	first.Close()
	s.spy.await(t, "RequestEnded", 2)
	second.send("GET", "/api/tags", "", bearer(key))
	if got := second.answer("GET"); got.status != http.StatusOK {
		t.Errorf("after the other: %s", got)
	}
}
