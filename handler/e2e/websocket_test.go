package e2e_test

import (
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestAWebSocketIsRefusedAtOnce: Codex asks for one on /v1/responses, and falls back
// to POST without delay if it gets 426.
func TestAWebSocketIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	socket := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for _, c := range []struct {
		name, method, path, key string
		headers                 []string
		status                  int
	}{
		{"Codex", "GET", "/v1/responses", s.Key, socket, 426},
		{"on a route for GET", "GET", "/api/tags", s.Key, socket, 426},
		{"on a route with a segment", "GET", "/v1/models/tiny", s.Key, socket, 426},
		{"in other letters", "GET", "/v1/responses", s.Key, []string{"Connection: keep-alive, upgrade", "Upgrade: h2c, WebSocket"}, 426},
		{"no key", "GET", "/v1/responses", "sk-x", socket, 401},
		{"a forged key", "GET", "/v1/responses", s.Key[:len(s.Key)-5] + "AAAAA", socket, 401},
		{"no route", "GET", "/v1/realtime", s.Key, socket, 404},
		{"no upgrade", "GET", "/v1/responses", s.Key, nil, 405},
		{"another protocol", "GET", "/v1/responses", s.Key, []string{"Connection: Upgrade", "Upgrade: h2c"}, 405},
		{"nothing says that it counts", "GET", "/v1/responses", s.Key, []string{"Upgrade: websocket"}, 405},
		{"no websocket starts with POST", "PUT", "/v1/responses", s.Key, socket, 405},
	} {
		w := s.Dial(t)
		w.Writef("%s\r\n", handlertest.Head(c.method, c.path, append([]string{handlertest.Bearer(c.key)}, c.headers...)...))
		got := w.Answer(c.method)
		if got.Status != c.status || got.Err != nil {
			t.Errorf("%s: %s", c.name, got)
		}
		if c.status != 426 {
			w.Close()
			continue
		}
		raw := w.Received.String()
		for _, line := range []string{"\r\nUpgrade: HTTP/1.1\r\n", "\r\nConnection: Upgrade\r\n", "\r\nConnection: close\r\n"} {
			if !strings.Contains(raw, line) {
				t.Errorf("%s: no %q in %q", c.name, line, raw)
			}
		}
		if message, _ := handlertest.ErrorIn(t, c.path, got.Body); !strings.HasPrefix(message, "there are no websockets here") {
			t.Errorf("%s: %q", c.name, got.Body)
		}
		w.ExpectClosed()
	}
	s.ExpectNoRequest(t)
}
