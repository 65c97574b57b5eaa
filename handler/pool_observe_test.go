package handler_test

import (
	"slices"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestWhereARequestWentIsTold to the log and the recorder, with the reason.
func TestWhereARequestWentIsTold(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := newBox(t, "two", standin.Options{Models: []string{"other:1b"}})
	s := startPool(t, config{}, one, two)
	talk := `{"model":"other:1b","stream":false,"messages":[{"role":"user","content":"again"}]}`
	for _, body := range []string{forModel("tiny"), talk, talk} {
		s.ask(t, "POST", "/api/chat", body)
	}
	s.ask(t, "POST", "/api/generate", `{"model":"tiny"}`)
	asManager(s, t, "POST", "/api/chat", forModel("tiny"), naming+": one")
	s.spy.await(t, "UpstreamDone", 5)
	one.close()
	s.ask(t, "POST", "/api/chat", forModel("tiny"))
	one.reopen()

	var places []any
	for _, line := range s.lines(t, 6) {
		places = append(places, line["upstream"])
	}
	if want := []any{"one", "two", "two", "one", "one", nil}; !slices.Equal(places, want) {
		t.Errorf("the log says %v", places)
	}
	if got := s.spy.texts("UpstreamJoined"); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("there were %q", got)
	}
	var choices, numbers = s.spy.texts("UpstreamEntered"), ""
	for _, e := range s.spy.all("UpstreamEntered") {
		numbers += string(rune('0' + e.n))
	}
	if want := []string{"cold", "cold", "conversation", "loaded", "named", "conversation"}; !slices.Equal(choices, want) || numbers != "122111" {
		t.Errorf("recorded were %q at %s", choices, numbers)
	}
	failed := s.spy.all("UpstreamFailed")
	if len(failed) != 1 || failed[0] != (event{n: 1, text: "dial"}) {
		t.Errorf("failed have %v", failed)
	}
}
