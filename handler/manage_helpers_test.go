package handler_test

import (
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

const naming = "X-Ollama-Proxy-Upstream"

// manage sends a request with the ADMIN key.
func asManager(s *handlertest.Site, t *testing.T, method, path, body string, headers ...string) handlertest.Answer {
	t.Helper()
	w := s.Dial(t)
	defer w.Close()
	w.Send(method, path, body, append(headers, handlertest.Bearer(s.Admin))...)
	return w.Answer(method)
}

// eventually tries until it is so.
func eventually(s *handlertest.Site, t *testing.T, so func() bool) {
	t.Helper()
	late := time.After(handlertest.Patience)
	for n := len(s.Spy.All("UpstreamUp")); !so(); n++ {
		select {
		case <-late:
			t.Fatal("waited in vain")
		default:
			s.Spy.Await(t, "UpstreamUp", n+1) // something may have changed
		}
	}
}
