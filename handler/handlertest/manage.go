package handlertest

import (
	"testing"
	"time"
)

const Naming = "X-Ollama-Proxy-Upstream"

// manage sends a request with the ADMIN key.
func AsManager(s *Site, t *testing.T, method, path, body string, headers ...string) Answer {
	t.Helper()
	w := s.Dial(t)
	defer w.Close()
	w.Send(method, path, body, append(headers, Bearer(s.Admin))...)
	return w.Answer(method)
}

// Eventually tries until it is so.
func Eventually(s *Site, t *testing.T, so func() bool) {
	t.Helper()
	late := time.After(Patience)
	for n := len(s.Spy.All("UpstreamUp")); !so(); n++ {
		select {
		case <-late:
			t.Fatal("waited in vain")
		default:
			s.Spy.Await(t, "UpstreamUp", n+1) // something may have changed
		}
	}
}
