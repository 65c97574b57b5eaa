package handler_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

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

// TestListsAreUnions of what all have, in order and without doubles, and what the
// key is not for is left out.
func TestListsAreUnions(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny", "shared"}})
	two := newBox(t, "two", standin.Options{Models: []string{"other:1b", "shared", "a"}})
	s := startPool(t, config{}, one, two)
	one.load("shared")
	two.load("shared")
	two.load("other:1b")
	few := bearer(s.mint(false, "models=a,shared"))
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
		w := s.dial(t)
		key := c.key
		if key == "" {
			key = bearer(s.key)
		}
		w.send("GET", c.path, "", key)
		a := w.answer("GET")
		if got := modelsIn(t, a.body); a.status != 200 || a.err != nil || !slices.Equal(got, c.want) || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %v %v %v", c.path, a, a.header, got)
		}
	}
	if a := s.ask(t, "GET", "/v1/models", ""); !strings.Contains(a.body, `"object":"list"`) {
		t.Errorf("what stands beside the list is lost: %s", a.body)
	}
	if a := s.ask(t, "HEAD", "/api/tags", ""); a.status != 200 || a.body != "" || a.err != nil {
		t.Errorf("HEAD: %v", a)
	}
}

// TestAListWithoutThoseThatFail is better than none.
func TestAListWithoutThoseThatFail(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := newBox(t, "two", standin.Options{Models: []string{"other:1b"}})
	three := newBox(t, "three", standin.Options{Models: []string{"third"}})
	s := startPool(t, config{}, one, two, three)
	two.close()
	three.fails(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, `{"error":"no disk"}`)
	})
	if a := s.ask(t, "GET", "/api/tags", ""); a.status != 200 || !slices.Equal(modelsIn(t, a.body), []string{"tiny:latest"}) {
		t.Errorf("%v %s", a, a.body)
	}
	one.close()
	if a := s.ask(t, "GET", "/api/tags", ""); a.status != 500 || a.body != `{"error":"no disk"}` {
		t.Errorf("%v %s", a, a.body)
	}
	three.close()
	for _, path := range []string{"/api/tags", "/v1/models"} {
		a := s.ask(t, "GET", path, "")
		if message, _ := errorIn(t, path, a.body); a.status != 502 || message != "no Ollama can be reached" {
			t.Errorf("%v %s", a, a.body)
		}
	}
	one.reopen()
	two.reopen()
	three.reopen()
}
