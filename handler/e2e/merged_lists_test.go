package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// modelsIn are the names in a list, in its order.
func modelsIn(t *testing.T, body string) (names []string) {
	t.Helper()
	var list struct {
		Models []struct{ Name string }
		Data   []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	for _, m := range list.Models {
		names = append(names, m.Name)
	}
	for _, m := range list.Data {
		names = append(names, m.ID)
	}
	return names
}

// TestListsAreMerged: in order and without duplicates, and without the models that the
// key does not allow.
func TestListsAreMerged(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny", "shared"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"other:1b", "shared", "a"}})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	one.Load("shared")
	two.Load("shared")
	two.Load("other:1b")
	few := handlertest.Bearer(s.Mint(false, "models=a,shared"))
	for _, c := range []struct {
		path, key string
		want      []string
	}{
		{"/api/tags", "", []string{"a:latest", "other:1b", "shared:latest", "tiny:latest"}},
		{"/v1/models", "", []string{"a:latest", "other:1b", "shared:latest", "tiny:latest"}},
		{"/api/ps", "", []string{"other:1b", "shared:latest"}},
		{"/api/tags", few, []string{"a:latest", "shared:latest"}},
		{"/v1/models", few, []string{"a:latest", "shared:latest"}},
		{"/api/ps", few, []string{"shared:latest"}},
	} {
		w := s.Dial(t)
		key := c.key
		if key == "" {
			key = handlertest.Bearer(s.Key)
		}
		w.Send("GET", c.path, "", key)
		a := w.Answer("GET")
		if got := modelsIn(t, a.Body); a.Status != 200 || a.Err != nil || !slices.Equal(got, c.want) || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %v %v %v", c.path, a, a.Header, got)
		}
	}
	if a := s.Ask(t, "GET", "/v1/models", ""); !strings.Contains(a.Body, `"object":"list"`) {
		t.Errorf("what stands beside the list is lost: %s", a.Body)
	}
	if a := s.Ask(t, "HEAD", "/api/tags", ""); a.Status != 200 || a.Body != "" || a.Err != nil {
		t.Errorf("HEAD: %v", a)
	}
}

func TestMergedListWithoutFailedOllamas(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"other:1b"}})
	three := handlertest.NewBox(t, "three", standin.Options{Models: []string{"third"}})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two, three)
	two.Close()
	three.AnswerWith(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, `{"error":"no disk"}`)
	})
	if a := s.Ask(t, "GET", "/api/tags", ""); a.Status != 200 || !slices.Equal(modelsIn(t, a.Body), []string{"tiny:latest"}) {
		t.Errorf("%v %s", a, a.Body)
	}
	one.Close()
	if a := s.Ask(t, "GET", "/api/tags", ""); a.Status != 500 || a.Body != `{"error":"no disk"}` {
		t.Errorf("%v %s", a, a.Body)
	}
	three.Close()
	for _, path := range []string{"/api/tags", "/v1/models"} {
		a := s.Ask(t, "GET", path, "")
		if message, _ := handlertest.ErrorIn(t, path, a.Body); a.Status != 502 || message != "no Ollama can be reached" {
			t.Errorf("%v %s", a, a.Body)
		}
	}
	one.Reopen()
	two.Reopen()
	three.Reopen()
}
