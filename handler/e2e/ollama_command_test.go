package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestTheOllamaCommandIsLedToConnect: it prints the message of a 403, and of no 401, if
// HEAD / has succeeded before. It must not learn more than others without a key do.
func TestTheOllamaCommandIsLedToConnect(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	const command = "User-Agent: ollama/0.33.0 (amd64 linux) Go/go1.26.1"
	ask := func(method, path string, headers ...string) handlertest.Answer {
		w := s.Dial(t)
		defer w.Close()
		w.Send(method, path, "", headers...)
		return w.Answer(method)
	}
	if got := ask("HEAD", "/", command); got.Status != 200 || got.Body != "" {
		t.Errorf("HEAD /: %s", got)
	}
	var first handlertest.Answer
	for _, path := range []string{"/api/tags", "/api/show", "/api/chat", "/api/me", "/nowhere", "//api/tags", "/"} {
		for _, method := range []string{"GET", "POST", "DELETE", "PUT"} {
			got := anonymous(ask(method, path, command))
			if first.Status == 0 {
				first = got
			}
			if got.Status != 403 || got.Body != first.Body || fmt.Sprint(got.Header) != fmt.Sprint(first.Header) {
				t.Errorf("%s %s: %s %q %v", method, path, got, got.Body, got.Header)
			}
		}
	}
	if message, _ := handlertest.ErrorIn(t, "/api/tags", first.Body); !strings.Contains(message, "ollama-proxy connect") || strings.Contains(message, "\n") {
		t.Errorf("%q", message)
	}
	s.Spy.Idle(t)
	for _, reason := range s.Spy.Texts("Refused") {
		if reason != "missing" {
			t.Errorf("recorded as %s", reason)
		}
	}
	if n, all := len(s.Spy.Texts("Refused")), len(s.Spy.Texts("RequestEnded")); n != all {
		t.Errorf("%d of %d are recorded as refused", n, all)
	}

	// It is the command's, and for those who show no key, that there is an exception.
	for _, headers := range [][]string{
		{}, {"User-Agent: ollama"}, {"User-Agent: ollama-python/0.6.0"}, {"User-Agent: curl/8 ollama/0.33.0"},
		{command, handlertest.Bearer("sk-x")}, {command, handlertest.Bearer(s.Key[:len(s.Key)-5] + "AAAAA")}, {command, "X-Api-Key:"},
	} {
		for _, method := range []string{"HEAD", "GET"} {
			if got := ask(method, "/", headers...); got.Status != http.StatusUnauthorized {
				t.Errorf("%s / with %.40q: %s", method, headers, got)
			}
		}
	}
	s.ExpectNoRequest(t)
	if got := ask("HEAD", "/", command, handlertest.Bearer(s.Key)); got.Status != 200 {
		t.Errorf("with a key: %s", got)
	}
	s.AwaitRequest(t, 1)
}
