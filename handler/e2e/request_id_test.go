package e2e_test

import (
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestEachAnswerHasARequestID, the client's own if it is tame, and the log has the same,
// with the client's address and the trace.
func TestEachAnswerHasARequestID(t *testing.T) {
	t.Parallel()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, omit := range []bool{false, true} {
		s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.OmitClientAddress = omit }})
		for i, row := range []struct {
			method, path, own string
			kept              bool
		}{
			{"GET", "/api/tags", "", false},
			{"POST", "/api/chat", "req-1.a:b_C", true},
			{"GET", "/nowhere/else", "7", true},
			{"GET", "/api/tags", strings.Repeat("a", 41), false},
			{"GET", "/api/tags", "two words", false},
			{"GET", "/api/tags", `"quoted"`, false},
			{"GET", "/api/tags", s.Key, false},
			{"GET", "/api/tags", s.Key[len(s.Key)-43:], false},
			{"GET", "/api/tags", "ollama-0199c3a1", false},
		} {
			w := s.Dial(t)
			headers := []string{handlertest.Bearer(s.Key), "traceparent: 00-" + trace + "-00f067aa0ba902b7-01"}
			if row.own != "" {
				headers = append(headers, "X-Request-Id: "+row.own)
			}
			body := ""
			if row.method == "POST" {
				body = handlertest.Chats[0].Ask("tiny", true)
			}
			w.Send(row.method, row.path, body, headers...)
			got := w.Answer(row.method)
			w.Close()
			id := got.Header["X-Request-Id"]
			if len(id) != 1 || id[0] == "" || (id[0] == row.own) != row.kept {
				t.Errorf("%s with the id %q got %q", row.path, row.own, id)
				continue
			}
			var line map[string]any
			for _, l := range s.AccessLog(t, i+1) {
				if l["request"] == id[0] {
					line = l
				}
			}
			client, _ := line["client"].(string)
			if line == nil || line["trace"] != trace || client != map[bool]string{false: "127.0.0.1"}[omit] {
				t.Errorf("the log of %s with the id %q has %v", row.path, row.own, line)
			}
			if path, _ := line["path"].(string); (path != "") != (row.path == "/nowhere/else") || path != "" && path != row.path {
				t.Errorf("the log of %s has the path %q", row.path, path)
			}
		}
	}
}
