package handler_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// stays are headers of a request that are not Ollama's business: what lets
// the client in, what Ollama would refuse it for, what a client could forge,
// and what is about one connection.
var stays = []string{
	"Cookie: a=1", "Cookie: b=2", "Origin: https://evil.example",
	"X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https",
	"X-Forwarded-Prefix: /admin", "X-Forwarded-Port: 1", "x-forwarded-user: root", "X-FORWARDED-ANYTHING: at all",
	"Forwarded: for=10.0.0.1;host=evil.example", "X-Real-Ip: 10.0.0.1", "X-REAL-IP: 10.0.0.2",
	"Keep-Alive: timeout=5", "Proxy-Authenticate: Basic", "Proxy-Authorization: Basic eDp5", "Proxy-Connection: keep-alive",
	"TE: trailers", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk", "Connection: Upgrade, X-Listed", "Connection: x-also-listed ,, TE", "X-Listed: 1", "X-Also-Listed: 1",
}

// passes are headers that Ollama gets as they are.
var passes = []string{
	"User-Agent: a client/1.0", "Content-Type: application/json; charset=utf-8", "Accept: text/event-stream", "Accept: */*;q=0.1",
	"Accept-Encoding: br;q=1.0, gzip", "Accept-Language: sv", "Content-Encoding: identity", "Anthropic-Version: 2023-06-01",
	"Anthropic-Beta: one", "Anthropic-Beta: two", "Openai-Organization: org", "X-Stainless-Lang: python", "Idempotency-Key: 1",
	"If-None-Match: \"1\"", "Range: bytes=0-1", "Referer: https://app.example/chat", "X-Forwarded: no such header",
	"X-Empty:", "X_under_score: 1", "X-Latin: caf\xe9", "Cache-Control: no-store", "Via: 1.1 a-proxy",
}

// TestWhatOllamaSees is the whole of it: no header is missing, and none is
// there that the client did not send.
func TestWhatOllamaSees(t *testing.T) {
	t.Parallel()
	want := http.Header{}
	for _, line := range passes {
		name, value, _ := strings.Cut(line, ":")
		want.Add(name, strings.TrimSpace(value))
	}
	for name, key := range map[string]func(s *site) []string{
		"bearer":    func(s *site) []string { return []string{bearer(s.key)} },
		"x-api-key": func(s *site) []string { return []string{"x-api-key: " + s.key} },
		"both":      func(s *site) []string { return []string{"authorization: bearer " + s.key, "X-API-KEY: " + s.key} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, config{})
			w := s.dial(t)
			body := chats[0].ask("tiny", false)
			w.send("POST", "/api/chat", body, slices.Concat(passes, stays, key(s))...)
			if got := w.answer("POST"); got.status != 200 {
				t.Fatalf("%s %s", got, got.body)
			}
			want := want.Clone()
			want.Set("Content-Length", fmt.Sprint(len(body)))
			seen := s.arrival(t, 1)
			if !maps.EqualFunc(seen.Header, want, slices.Equal) {
				t.Errorf("Ollama saw\n%v, not\n%v", seen.Header, want)
			}
			if seen.Host != s.upstream {
				t.Errorf("Ollama saw the host %s", seen.Host)
			}
		})
	}
}

// TestNothingIsAddedToARequest of a client that sends no more than it must.
func TestNothingIsAddedToARequest(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for i, request := range []string{
		head("GET", "/api/tags", bearer(s.key)),
		head("HEAD", "/", bearer(s.key)),
		"GET /api/version HTTP/1.0\r\n" + bearer(s.key) + "\r\n",
		head("GET", "/v1/models", bearer(s.key), "Connection: close"),
	} {
		w := s.dial(t)
		w.write("%s\r\n", request)
		w.answer(strings.Fields(request)[0])
		if got := s.arrival(t, i+1).Header; len(got) != 0 {
			t.Errorf("%q arrived with %v", request, got)
		}
	}
}

// TestConnectionTakesNothingFromTheProxy: a client may call any header
// hop-by-hop. It then does not pass, but what the proxy itself goes by, and what it
// sets, is not the client's to take away.
func TestConnectionTakesNothingFromTheProxy(t *testing.T) {
	t.Parallel()
	for _, listed := range []string{"Authorization", "authorization, x-api-key", "Content-Type", "Content-Length", "Host", "Transfer-Encoding", "close, Authorization, X-Foo", "keep-alive,X-Foo,content-type"} {
		t.Run(listed, func(t *testing.T) {
			t.Parallel()
			s := start(t, config{})
			w := s.dial(t)
			body := `{"model":"tiny"}`
			w.send("POST", "/api/show", body, bearer(s.key), "Connection: "+listed, "X-Foo: 1", "Content-Type: a/b", "X-Bar: 1")
			if got := w.answer("POST"); got.status != 200 {
				t.Fatalf("%s %s", got, got.body)
			}
			want := http.Header{"X-Bar": {"1"}, "Content-Length": {fmt.Sprint(len(body))}}
			if !strings.Contains(strings.ToLower(listed), "content-type") {
				want.Set("Content-Type", "a/b")
			}
			if !strings.Contains(listed, "X-Foo") {
				want.Set("X-Foo", "1")
			}
			seen := s.arrival(t, 1)
			if !maps.EqualFunc(seen.Header, want, slices.Equal) || string(seen.Body) != body || seen.Host != s.upstream {
				t.Errorf("Ollama saw %v, %q", seen.Header, seen.Body)
			}
		})
	}
	s := start(t, config{})
	w := s.dial(t)
	w.send("GET", "/api/tags", "", "Connection: Authorization", "Authorization: Bearer not-a-key")
	if got := w.answer("GET"); got.status != 401 {
		t.Errorf("a bad key that is called hop-by-hop: %s", got)
	}
	s.nothingArrived(t)
}

// TestTheHostIsTheProxysOwn: Ollama refuses strange ones.
func TestTheHostIsTheProxysOwn(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for i, request := range []string{
		"GET /api/version HTTP/1.1\r\nHost: evil.example\r\n",
		"GET /api/version HTTP/1.1\r\nHost: 8.8.8.8:80\r\n",
		"GET /api/version HTTP/1.1\r\nHost:\r\n",
		"GET http://evil.example/api/version HTTP/1.1\r\nHost: other.example\r\n",
	} {
		w := s.dial(t)
		w.write("%s%s\r\n\r\n", request, bearer(s.key))
		if got := w.answer("GET"); got.status != 200 {
			t.Errorf("%q: %s", request, got)
		}
		if seen := s.arrival(t, i+1); seen.Host != s.upstream || seen.URI != "/api/version" {
			t.Errorf("%q arrived for %s, asking %s", request, seen.Host, seen.URI)
		}
	}
}

// TestAnAnswersHopByHopHeadersStay behind, and so do those that it lists.
func TestAnAnswersHopByHopHeadersStay(t *testing.T) {
	t.Parallel()
	s := start(t, config{address: scripted(t, func(c *tcpConn, r *http.Request) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Passes: 1\r\nX-Passes: 2\r\n"+
			"Connection: X-Listed, keep-alive\r\nConnection: x-also-listed\r\nX-Listed: 1\r\nX-Also-Listed: 1\r\n"+
			"Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\n"+
			"TE: trailers\r\nTrailer: X-Trailer\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n")
	})})
	got := s.ask(t, "GET", "/api/tags", "")
	want := http.Header{"Content-Type": {"text/plain"}, "Date": {"Sun, 06 Nov 1994 08:49:37 GMT"}, "X-Passes": {"1", "2"}}
	if !maps.EqualFunc(got.header, want, slices.Equal) || got.body != "ok" || got.err != nil {
		t.Errorf("the client got %v, %q, %v", got.header, got.body, got.err)
	}
}

// TestOnlyStreamsAskNotToBeBuffered, by an nginx in front.
func TestOnlyStreamsAskNotToBeBuffered(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for _, c := range chats {
		for stream, want := range map[bool]string{true: "no", false: ""} {
			if got := s.ask(t, "POST", c.path, c.ask("tiny", stream)).header.Get("X-Accel-Buffering"); got != want {
				t.Errorf("%s stream=%t: X-Accel-Buffering %q", c.path, stream, got)
			}
		}
	}
}
