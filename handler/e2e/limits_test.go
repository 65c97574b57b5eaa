package e2e_test

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestCaveats: a key with one caveat tries what the caveat forbids.
func TestCaveats(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
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
		{"exp=1", "GET", "/api/tags", 401, "the API key has expired"},
		{"exp=4102444800", "GET", "/api/tags", 200, ""},
		{"label=alice", "GET", "/api/tags", 200, ""},
	} {
		w := s.Dial(t)
		w.Send(row.method, row.path, "", handlertest.Bearer(s.Mint(true, row.caveat)))
		got := w.Answer(row.method)
		if got.Status != row.status || !strings.Contains(got.Body, row.message) {
			t.Errorf("%s: %s %s: %s %q", row.caveat, row.method, row.path, got, got.Body)
		}
	}
}

func TestTheAddressBehindATrustedProxy(t *testing.T) {
	t.Parallel()
	near := handlertest.Start(t, handlertest.Config{})
	behind := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }})
	for _, row := range []struct {
		s         *handlertest.Site
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
		w := row.s.Dial(t)
		w.Send("GET", "/api/tags", "", handlertest.Bearer(row.s.Mint(false, "from=198.51.100.0/24")), "X-Forwarded-For: "+row.forwarded)
		if got := w.Answer("GET"); got.Status != row.status {
			t.Errorf("%q: %s", row.forwarded, got)
		}
	}
}

// TestRequestsPerMinute: a request beyond the limit gets 429 with Retry-After in the
// dialect of the route, and does not reach Ollama.
func TestRequestsPerMinute(t *testing.T) {
	t.Parallel()
	for _, c := range handlertest.Chats {
		s := handlertest.Start(t, handlertest.Config{})
		key := s.Mint(false, "rpm=1")
		w := s.Dial(t)
		w.Send("POST", c.Path, c.Ask("tiny", false), handlertest.Bearer(key))
		if got := w.Answer("POST"); got.Status != http.StatusNotFound && got.Status != http.StatusOK {
			t.Errorf("%s: the first: %s", c.Path, got)
		}
		w = s.Dial(t)
		w.Send("POST", c.Path, c.Ask("tiny", false), handlertest.Bearer(key))
		got := w.Answer("POST")
		after, err := strconv.Atoi(got.Header.Get("Retry-After"))
		if got.Status != http.StatusTooManyRequests || err != nil || after < 50 || after > 60 {
			t.Errorf("%s: the second: %s, Retry-After %q", c.Path, got, got.Header.Get("Retry-After"))
		}
		if message, _ := handlertest.ErrorIn(t, c.Path, got.Body); message != "this key has used up its requests per minute" {
			t.Errorf("%s: %s", c.Path, got.Body)
		}
		if n := len(s.Ollama.Seen()); n != 1 {
			t.Errorf("%s: %d requests reached Ollama", c.Path, n)
		}
	}
}

func TestTooManyAtOnce(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	key := s.Mint(false, "streams=1")
	first := s.Dial(t)
	first.Send("POST", "/api/generate", `{"model":"hang","prompt":"x"}`, handlertest.Bearer(key))
	s.AwaitRequest(t, 1)
	second := s.Dial(t)
	second.Send("GET", "/api/tags", "", handlertest.Bearer(key))
	if got := second.Answer("GET"); got.Status != http.StatusTooManyRequests || got.Header.Get("Retry-After") != "1" {
		t.Errorf("beside another: %s", got)
	}
	first.Close()
	s.Spy.Await(t, "RequestEnded", 2)
	second.Send("GET", "/api/tags", "", handlertest.Bearer(key))
	if got := second.Answer("GET"); got.Status != http.StatusOK {
		t.Errorf("after the other: %s", got)
	}
}
