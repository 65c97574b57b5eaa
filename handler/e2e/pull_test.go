package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

const (
	pulledLine = `{"status":"success"}`
	needsAdmin = "this route needs an OLLAMA-ADMIN- key"
)

// TestAPullOfWhatIsThere succeeds with a key that may use the model, without a word to
// Ollama; all else that pulls needs a key that manages. The lists of the site have
// llama3.2, nomic-embed-text, and Mine, which runs at ollama.com.
func TestAPullOfWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, cloud := range []bool{false, true} {
		s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.AllowCloud = cloud }})
		mine, mineSays := 403, "models that run at ollama.com are not allowed here"
		if cloud {
			mine, mineSays = 200, pulledLine
		}
		manager := s.Mint(true, "routes=chat,models")
		for _, c := range []struct {
			name, key, body string
			status          int
			says            string
		}{
			{"as Codex does", s.Key, `{"model":"llama3.2","stream":true}`, 200, pulledLine + "\n"},
			{"by its whole name", s.Key, `{"model":"llama3.2:latest"}`, 200, pulledLine + "\n"},
			{"in another spelling", s.Key, `{"name":"registry.ollama.ai/library/Llama3.2"}`, 200, pulledLine + "\n"},
			{"whole", s.Key, `{"model":"llama3.2","stream":false}`, 200, pulledLine},
			{"no word on streams", s.Key, `{"model":"llama3.2","stream":null}`, 200, pulledLine + "\n"},
			{"the last model counts", s.Key, `{"model":"nope","MODEL":"llama3.2"}`, 200, pulledLine + "\n"},
			{"for embeddings only", s.Mint(false, "routes=embed"), `{"model":"nomic-embed-text"}`, 200, pulledLine + "\n"},
			{"for the model", s.Mint(false, "models=llama3*"), `{"model":"llama3.2"}`, 200, pulledLine + "\n"},
			{"an ADMIN key that does not manage", manager, `{"model":"llama3.2"}`, 200, pulledLine + "\n"},
			{"of ollama.com", s.Key, `{"model":"mine"}`, mine, mineSays},

			{"not there", s.Key, `{"model":"nope"}`, 403, needsAdmin},
			{"not there, and not to be streamed", s.Key, `{"model":"nope","stream":false}`, 403, needsAdmin},
			{"the last model is not there", s.Key, `{"model":"llama3.2","model":"nope"}`, 403, needsAdmin},
			{"not there, an ADMIN key that does not manage", manager, `{"model":"nope"}`, 403, "this key is not for admin routes"},
			{"for another model", s.Mint(false, "models=qwen3:*"), `{"model":"llama3.2"}`, 403, `not for the model \"llama3.2:latest\"`},
			{"for no chat", s.Mint(false, "routes=models"), `{"model":"llama3.2"}`, 403, needsAdmin},
			{"from another address", s.Mint(false, "from=10.0.0.0/8"), `{"model":"llama3.2"}`, 403, "not for use from your address"},
			{"at ollama.com", s.Mint(false, "models=nothing"), `{"model":"gpt-oss:120b-cloud"}`, 403, ""},
			{"no model", s.Key, `{"model":""}`, 403, needsAdmin},
			{"no body", s.Key, "", 403, needsAdmin},
			{"no JSON", s.Key, "llama3.2", 403, needsAdmin},
			{"JSON that breaks off", s.Key, `{"model":"llama3.2"`, 400, "cannot be read"},
			{"a stream that is no truth", s.Key, `{"model":"llama3.2","stream":"no"}`, 400, "cannot be read"},
			{"longer than what is read whole", s.Key, `{"model":"llama3.2","x":"` + strings.Repeat("x", 1<<20) + `"}`, 403, needsAdmin},
			{"no name of a model", s.Key, `{"model":"a b"}`, 400, "in a form that Ollama does not accept"},
		} {
			w := s.Dial(t)
			w.Send("POST", "/api/pull", c.body, handlertest.Bearer(c.key))
			got := w.Answer("POST")
			w.Close()
			if got.Status != c.status || !strings.Contains(got.Body, c.says) || got.Err != nil {
				t.Errorf("%s (cloud: %t): %s, %q", c.name, cloud, got, got.Body)
			}
			kind := "application/json"
			if c.status == 200 {
				kind += "; charset=utf-8"
				if strings.HasSuffix(c.says, "\n") || c.name == "of ollama.com" {
					kind = "application/x-ndjson"
				}
			}
			if k := got.Header.Get("Content-Type"); k != kind {
				t.Errorf("%s: %s", c.name, k)
			}
		}
		s.ExpectNoRequest(t)
	}
}

// TestAPullOfWhatOneOfSeveralHas though the others lack it.
func TestAPullOfWhatOneOfSeveralHas(t *testing.T) {
	t.Parallel()
	a, b := handlertest.NewBox(t, "a", standin.Options{Models: []string{"tiny"}}), handlertest.NewBox(t, "b", standin.Options{Models: []string{"other:1b"}})
	s := handlertest.StartPool(t, handlertest.Config{}, a, b)
	for model, want := range map[string]int{"tiny": 200, "other:1b": 200, "nope": 403} {
		if got := s.Ask(t, "POST", "/api/pull", fmt.Sprintf(`{"model":%q}`, model)); got.Status != want {
			t.Errorf("%s: %s %q", model, got, got.Body)
		}
	}
}

// TestAPullWhileOllamaCannotBeAsked: what is in no list that is fresh has to be looked
// for, and if that cannot be done, nobody is told that it is there.
func TestAPullWhileOllamaCannotBeAsked(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Address: handlertest.ClosedAddress})
	if got := s.Ask(t, "POST", "/api/pull", `{"model":"llama3.2"}`); got.Status != http.StatusBadGateway {
		t.Errorf("%s %q", got, got.Body)
	}
}

// TestAPullCostsWhatARequestCosts: it counts against the key's rate.
func TestAPullCostsWhatARequestCosts(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	key := s.Mint(false, "rpm=1")
	for i, want := range []int{200, 429} {
		w := s.Dial(t)
		w.Send("POST", "/api/pull", `{"model":"llama3.2"}`, handlertest.Bearer(key))
		if got := w.Answer("POST"); got.Status != want {
			t.Errorf("pull %d: %s", i, got)
		}
	}
}
