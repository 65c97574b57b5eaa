package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestNameInAnySpellingSelectsTheOllama: an Ollama that has the model gets the request,
// and none gets one for a model of ollama.com.
func TestNameInAnySpellingSelectsTheOllama(t *testing.T) {
	t.Parallel()
	for _, name := range spellings("tiny") {
		if standin.Canonical(name) != "tiny:latest" {
			continue
		}
		t.Run(fmt.Sprintf("%.40q", name), func(t *testing.T) {
			t.Parallel()
			one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"other:1b"}})
			two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"tiny"}})
			s := handlertest.StartPool(t, handlertest.Config{}, one, two)
			quoted, _ := json.Marshal(name)
			for _, n := range namers[:12] {
				if a := s.Ask(t, n.method, n.path, fmt.Sprintf(n.body, quoted)); a.Status != 200 {
					t.Errorf("%s: %d %s", n.path, a.Status, a.Body)
				}
			}
			if one.Requests() != 0 || two.Requests() != 12 {
				t.Errorf("%d went to the wrong one, %d to the right one", one.Requests(), two.Requests())
			}
		})
	}
}

// TestSeveralOllamasAreAskedForAnUnlistedModel: an Ollama whose list cannot be read gets
// no request for it.
func TestSeveralOllamasAreAskedForAnUnlistedModel(t *testing.T) {
	t.Parallel()
	one, two := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}}), handlertest.NewBox(t, "two", standin.Options{Models: []string{"other:1b"}})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	two.Ollama.Install("here", false)
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("here")); a.Status != 200 || two.Requests() != 1 {
		t.Errorf("what one has just got: %d %s", a.Status, a.Body)
	}
	two.Ollama.Install("mine", true)
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("mine")); a.Status != 403 {
		t.Errorf("what is at ollama.com: %d %s", a.Status, a.Body)
	}
	for _, name := range []string{"one", "two"} {
		if a := handlertest.AskAdmin(s, t, "POST", "/api/chat", handlertest.ForModel("mine"), handlertest.UpstreamHeader+": "+name); a.Status != 403 {
			t.Errorf("the same, of %s: %d %s", name, a.Status, a.Body)
		}
	}
	two.Ollama.Install("more", true)
	if a := handlertest.AskAdmin(s, t, "POST", "/api/chat", handlertest.ForModel("more"), handlertest.UpstreamHeader+": two"); a.Status != 403 {
		t.Errorf("what is at ollama.com since a moment ago, of the one that has it: %d %s", a.Status, a.Body)
	}

	before := two.Requests()
	two.Close()
	for range 3 {
		if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("nobody")); a.Status != 404 {
			t.Errorf("what the other one does not have: %d %s", a.Status, a.Body)
		}
	}
	if a := handlertest.AskAdmin(s, t, "POST", "/api/chat", handlertest.ForModel("nobody"), handlertest.UpstreamHeader+": two"); a.Status != 502 {
		t.Errorf("of one that is not there: %d %s", a.Status, a.Body)
	}
	one.Close()
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("nobody")); a.Status != 502 {
		t.Errorf("with none there: %d %s", a.Status, a.Body)
	}
	two.Ollama.Install("nobody", true)
	two.Reopen()
	for range 20 {
		if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("nobody")); a.Status != http.StatusForbidden && a.Status != http.StatusBadGateway {
			t.Errorf("at one that has come up: %d %s", a.Status, a.Body)
		}
	}
	one.Reopen()
	for _, b := range []*handlertest.Box{one, two} {
		for _, seen := range seenBy(b.Ollama) {
			if seen.Account != "" {
				t.Errorf("%s: %s %s acts with the account", b.Name, seen.URI, seen.Model)
			}
		}
	}
	if before != two.Requests() {
		t.Errorf("%d requests reached it after it was gone", two.Requests()-before)
	}
}
