package e2e_test

import (
	"slices"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestSelectedOllamaIsReported: to the log and to the recorder, with the reason.
func TestSelectedOllamaIsReported(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"other:1b"}})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	talk := `{"model":"other:1b","stream":false,"messages":[{"role":"user","content":"again"}]}`
	for _, body := range []string{handlertest.ForModel("tiny"), talk, talk} {
		s.Ask(t, "POST", "/api/chat", body)
	}
	s.Ask(t, "POST", "/api/generate", `{"model":"tiny"}`)
	handlertest.AskAdmin(s, t, "POST", "/api/chat", handlertest.ForModel("tiny"), handlertest.UpstreamHeader+": one")
	s.Spy.Await(t, "UpstreamDone", 5)
	one.Close()
	s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny"))
	one.Reopen()

	var places []any
	for _, line := range s.AccessLog(t, 6) {
		places = append(places, line["upstream"])
	}
	if want := []any{"one", "two", "two", "one", "one", nil}; !slices.Equal(places, want) {
		t.Errorf("the log says %v", places)
	}
	if got := s.Spy.Texts("UpstreamJoined"); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("there were %q", got)
	}
	var choices, numbers = s.Spy.Texts("UpstreamEntered"), ""
	for _, e := range s.Spy.All("UpstreamEntered") {
		numbers += string(rune('0' + e.N))
	}
	if want := []string{"cold", "cold", "conversation", "loaded", "named", "conversation"}; !slices.Equal(choices, want) || numbers != "122111" {
		t.Errorf("recorded were %q at %s", choices, numbers)
	}
	failed := s.Spy.All("UpstreamFailed")
	if len(failed) != 1 || failed[0] != (handlertest.Event{N: 1, Text: "dial"}) {
		t.Errorf("failed have %v", failed)
	}
}
