package e2e_test

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
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

// TestHeadersThatOllamaGets: the exact list: no header is missing, and none is there
// that the client did not send.
func TestHeadersThatOllamaGets(t *testing.T) {
	t.Parallel()
	want := http.Header{}
	for _, line := range passes {
		name, value, _ := strings.Cut(line, ":")
		want.Add(name, strings.TrimSpace(value))
	}
	for name, key := range map[string]func(s *handlertest.Site) []string{
		"bearer":    func(s *handlertest.Site) []string { return []string{handlertest.Bearer(s.Key)} },
		"x-api-key": func(s *handlertest.Site) []string { return []string{"x-api-key: " + s.Key} },
		"both": func(s *handlertest.Site) []string {
			return []string{"authorization: bearer " + s.Key, "X-API-KEY: " + s.Key}
		},
		"basic": func(s *handlertest.Site) []string { return []string{basic("x:" + s.Key)} },
		"beside others' credentials": func(s *handlertest.Site) []string {
			return []string{"Authorization: Basic eDp5", "Authorization: Negotiate YII=", "X-Api-Key: sk-ant-x", "X-Api-Key:", "api-key: " + s.Key, "Api-Key: x", "x-goog-api-key: AIza"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{})
			w := s.Dial(t)
			body := handlertest.Chats[0].Ask("tiny", false)
			w.Send("POST", "/api/chat", body, slices.Concat(passes, stays, key(s))...)
			if got := w.Answer("POST"); got.Status != 200 {
				t.Fatalf("%s %s", got, got.Body)
			}
			want := want.Clone()
			want.Set("Content-Length", fmt.Sprint(len(body)))
			seen := s.AwaitRequest(t, 1)
			if !maps.EqualFunc(seen.Header, want, slices.Equal) {
				t.Errorf("Ollama saw\n%v, not\n%v", seen.Header, want)
			}
			if seen.Host != s.Upstream {
				t.Errorf("Ollama saw the host %s", seen.Host)
			}
		})
	}
}

// TestNoHeaderIsAddedToARequest: also if the client sends only the headers that it must.
func TestNoHeaderIsAddedToARequest(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for i, request := range []string{
		handlertest.Head("GET", "/api/tags", handlertest.Bearer(s.Key)),
		handlertest.Head("HEAD", "/", handlertest.Bearer(s.Key)),
		"GET /api/version HTTP/1.0\r\n" + handlertest.Bearer(s.Key) + "\r\n",
		handlertest.Head("GET", "/v1/models", handlertest.Bearer(s.Key), "Connection: close"),
	} {
		w := s.Dial(t)
		w.Writef("%s\r\n", request)
		w.Answer(strings.Fields(request)[0])
		if got := s.AwaitRequest(t, i+1).Header; len(got) != 0 {
			t.Errorf("%q arrived with %v", request, got)
		}
	}
}

// TestConnectionHeaderCannotRemoveTheProxysHeaders: a client may list any header in
// Connection, and it is then not relayed. But headers that the proxy reads or sets
// itself cannot be removed in this way.
func TestConnectionHeaderCannotRemoveTheProxysHeaders(t *testing.T) {
	t.Parallel()
	for _, listed := range []string{"Authorization", "authorization, x-api-key", "Content-Type", "Content-Length", "Host", "Transfer-Encoding", "close, Authorization, X-Foo", "keep-alive,X-Foo,content-type"} {
		t.Run(listed, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{})
			w := s.Dial(t)
			body := `{"model":"tiny"}`
			w.Send("POST", "/api/show", body, handlertest.Bearer(s.Key), "Connection: "+listed, "X-Foo: 1", "Content-Type: a/b", "X-Bar: 1")
			if got := w.Answer("POST"); got.Status != 200 {
				t.Fatalf("%s %s", got, got.Body)
			}
			want := http.Header{"X-Bar": {"1"}, "Content-Length": {fmt.Sprint(len(body))}}
			if !strings.Contains(strings.ToLower(listed), "content-type") {
				want.Set("Content-Type", "a/b")
			}
			if !strings.Contains(listed, "X-Foo") {
				want.Set("X-Foo", "1")
			}
			seen := s.AwaitRequest(t, 1)
			if !maps.EqualFunc(seen.Header, want, slices.Equal) || string(seen.Body) != body || seen.Host != s.Upstream {
				t.Errorf("Ollama saw %v, %q", seen.Header, seen.Body)
			}
		})
	}
	s := handlertest.Start(t, handlertest.Config{})
	w := s.Dial(t)
	w.Send("GET", "/api/tags", "", "Connection: Authorization", "Authorization: Bearer not-a-key")
	if got := w.Answer("GET"); got.Status != 401 {
		t.Errorf("a bad key that is called hop-by-hop: %s", got)
	}
	s.ExpectNoRequest(t)
}

// TestHostIsThatOfOllama: Ollama refuses unknown hosts.
func TestHostIsThatOfOllama(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for i, request := range []string{
		"GET /api/version HTTP/1.1\r\nHost: evil.example\r\n",
		"GET /api/version HTTP/1.1\r\nHost: 8.8.8.8:80\r\n",
		"GET /api/version HTTP/1.1\r\nHost:\r\n",
		"GET http://evil.example/api/version HTTP/1.1\r\nHost: other.example\r\n",
	} {
		w := s.Dial(t)
		w.Writef("%s%s\r\n\r\n", request, handlertest.Bearer(s.Key))
		if got := w.Answer("GET"); got.Status != 200 {
			t.Errorf("%q: %s", request, got)
		}
		if seen := s.AwaitRequest(t, i+1); seen.Host != s.Upstream || seen.URI != "/api/version" {
			t.Errorf("%q arrived for %s, asking %s", request, seen.Host, seen.URI)
		}
	}
}

// TestHopByHopHeadersOfAnswersAreRemoved: also those that Connection lists.
func TestHopByHopHeadersOfAnswersAreRemoved(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Address: handlertest.Scripted(t, func(c *net.TCPConn, r *http.Request) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Passes: 1\r\nX-Passes: 2\r\n"+
			"Connection: X-Listed, keep-alive\r\nConnection: x-also-listed\r\nX-Listed: 1\r\nX-Also-Listed: 1\r\n"+
			"Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\n"+
			"TE: trailers\r\nTrailer: X-Trailer\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n")
	})})
	got := s.Ask(t, "GET", "/api/tags", "")
	delete(got.Header, "X-Request-Id")
	want := http.Header{"Content-Type": {"text/plain"}, "Date": {"Sun, 06 Nov 1994 08:49:37 GMT"}, "X-Passes": {"1", "2"}}
	if !maps.EqualFunc(got.Header, want, slices.Equal) || got.Body != "ok" || got.Err != nil {
		t.Errorf("the client got %v, %q, %v", got.Header, got.Body, got.Err)
	}
}

// TestOnlyStreamsSwitchBufferingOff: by the header X-Accel-Buffering, for nginx.
func TestOnlyStreamsSwitchBufferingOff(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for _, c := range handlertest.Chats {
		for stream, want := range map[bool]string{true: "no", false: ""} {
			if got := s.Ask(t, "POST", c.Path, c.Ask("tiny", stream)).Header.Get("X-Accel-Buffering"); got != want {
				t.Errorf("%s stream=%t: X-Accel-Buffering %q", c.Path, stream, got)
			}
		}
	}
}
