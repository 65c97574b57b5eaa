package handler_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestANameInAnySpellingReachesTheOllamaThatHasIt, and one of ollama.com's none.
func TestANameInAnySpellingReachesTheOllamaThatHasIt(t *testing.T) {
	t.Parallel()
	for _, name := range spellings("tiny") {
		if standin.Canonical(name) != "tiny:latest" {
			continue
		}
		t.Run(fmt.Sprintf("%.40q", name), func(t *testing.T) {
			t.Parallel()
			one := newBox(t, "one", standin.Options{Models: []string{"other:1b"}})
			two := newBox(t, "two", standin.Options{Models: []string{"tiny"}})
			s := startPool(t, config{}, one, two)
			quoted, _ := json.Marshal(name)
			for _, n := range namers[:12] {
				if a := s.ask(t, n.method, n.path, fmt.Sprintf(n.body, quoted)); a.status != 200 {
					t.Errorf("%s: %d %s", n.path, a.status, a.body)
				}
			}
			if one.requests() != 0 || two.requests() != 12 {
				t.Errorf("%d went to the wrong one, %d to the right one", one.requests(), two.requests())
			}
		})
	}
}

// TestSeveralOllamasAreAskedForWhatNoneHas, and whoever cannot be asked gets no
// request for it.
func TestSeveralOllamasAreAskedForWhatNoneHas(t *testing.T) {
	t.Parallel()
	one, two := newBox(t, "one", standin.Options{Models: []string{"tiny"}}), newBox(t, "two", standin.Options{Models: []string{"other:1b"}})
	s := startPool(t, config{}, one, two)
	two.ollama.Install("here", false)
	if a := s.ask(t, "POST", "/api/chat", forModel("here")); a.status != 200 || two.requests() != 1 {
		t.Errorf("what one has just got: %d %s", a.status, a.body)
	}
	two.ollama.Install("mine", true)
	if a := s.ask(t, "POST", "/api/chat", forModel("mine")); a.status != 403 {
		t.Errorf("what is at ollama.com: %d %s", a.status, a.body)
	}
	for _, name := range []string{"one", "two"} {
		if a := asManager(s, t, "POST", "/api/chat", forModel("mine"), naming+": "+name); a.status != 403 {
			t.Errorf("the same, of %s: %d %s", name, a.status, a.body)
		}
	}
	two.ollama.Install("more", true)
	if a := asManager(s, t, "POST", "/api/chat", forModel("more"), naming+": two"); a.status != 403 {
		t.Errorf("what is at ollama.com since a moment ago, of the one that has it: %d %s", a.status, a.body)
	}

	before := two.requests()
	two.close()
	for range 3 {
		if a := s.ask(t, "POST", "/api/chat", forModel("nobody")); a.status != 404 {
			t.Errorf("what the other one does not have: %d %s", a.status, a.body)
		}
	}
	if a := asManager(s, t, "POST", "/api/chat", forModel("nobody"), naming+": two"); a.status != 502 {
		t.Errorf("of one that is not there: %d %s", a.status, a.body)
	}
	one.close()
	if a := s.ask(t, "POST", "/api/chat", forModel("nobody")); a.status != 502 {
		t.Errorf("with none there: %d %s", a.status, a.body)
	}
	two.ollama.Install("nobody", true)
	two.reopen()
	for range 20 {
		if a := s.ask(t, "POST", "/api/chat", forModel("nobody")); a.status != http.StatusForbidden && a.status != http.StatusBadGateway {
			t.Errorf("at one that has come up: %d %s", a.status, a.body)
		}
	}
	one.reopen()
	for _, b := range []*box{one, two} {
		for _, seen := range seenBy(b.ollama) {
			if seen.Account != "" {
				t.Errorf("%s: %s %s acts with the account", b.name, seen.URI, seen.Model)
			}
		}
	}
	if before != two.requests() {
		t.Errorf("%d requests reached it after it was gone", two.requests()-before)
	}
}
