package handlertest

import (
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
)

// UpstreamHeader is the header that names one of several Ollamas.
const UpstreamHeader = api.UpstreamHeader

// AskAdmin sends a request with the ADMIN key on a connection of its own, and reads the
// answer.
func AskAdmin(s *Site, t *testing.T, method, path, body string, headers ...string) Answer {
	t.Helper()
	w := s.Dial(t)
	defer w.Close()
	w.Send(method, path, body, append(headers, Bearer(s.Admin))...)
	return w.Answer(method)
}

// Eventually waits until condition returns true. It is called again after each probe of an
// Ollama.
func Eventually(s *Site, t *testing.T, condition func() bool) {
	t.Helper()
	timeout := time.After(Timeout)
	for n := len(s.Spy.All("UpstreamUp")); !condition(); n++ {
		select {
		case <-timeout:
			t.Fatal("waited in vain for a condition")
		default:
			s.Spy.Await(t, "UpstreamUp", n+1)
		}
	}
}
