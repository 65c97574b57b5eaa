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

const naming = "X-Ollama-Proxy-Upstream"

// manage sends a request with the ADMIN key.
func asManager(s *site, t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	w := s.dial(t)
	defer w.Close()
	w.send(method, path, body, append(headers, bearer(s.admin))...)
	return w.answer(method)
}

// has lists the models of a box.
func hasModel(b *box, t *testing.T) []string {
	t.Helper()
	res, err := http.Get("http://" + b.at + "/v1/models")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var list struct{ Data []struct{ ID string } }
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range list.Data {
		names = append(names, m.ID)
	}
	return names
}

// TestANameInAHeaderChoosesTheOllama for ADMIN keys, whatever the route, and
// for them alone an answer says which one it came from.
func TestANameInAHeaderChoosesTheOllama(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := newBox(t, "two", standin.Options{Models: []string{"tiny"}})
	for _, b := range []*box{one, two} {
		b.fault.Store(nil)
	}
	s := startPool(t, config{}, one, two)
	for range 5 {
		for _, b := range []*box{one, two} {
			before := b.requests()
			for _, path := range []string{"/api/chat", "/api/tags", "/api/ps", "/v1/models/tiny"} {
				method, body := "GET", ""
				if path == "/api/chat" {
					method, body = "POST", forModel("tiny")
				}
				a := asManager(s, t, method, path, body, naming+": "+b.name)
				if a.status != 200 || a.header.Get(naming) != b.name {
					t.Errorf("%s on %s: %v %s, from %q", path, b.name, a, a.body, a.header.Get(naming))
				}
			}
			if n := b.requests() - before; n != 4 {
				t.Errorf("%s got %d of 4", b.name, n)
			}
		}
	}
	for _, name := range []string{"three", "ONE", "one,two", "127.0.0.1"} {
		a := asManager(s, t, "POST", "/api/chat", forModel("tiny"), naming+": "+name)
		if a.status != 400 || !strings.Contains(a.body, "one, two") {
			t.Errorf("%s: %v %s", name, a, a.body)
		}
	}

	before := one.requests() + two.requests()
	for _, name := range []string{"one", "two", "three"} {
		a := s.ask(t, "POST", "/api/chat", forModel("tiny"), naming+": "+name)
		if a.status != 200 || a.header.Get(naming) != "" {
			t.Errorf("with an ordinary key: %v %s, from %q", a, a.body, a.header.Get(naming))
		}
		if a := s.ask(t, "GET", "/v1/models", "", naming+": "+name); strings.Contains(a.body, "three") || a.status != 200 {
			t.Errorf("with an ordinary key: %v %s", a, a.body)
		}
	}
	if n := one.requests() + two.requests() - before; n != 9 {
		t.Errorf("an ordinary key's header had its way: %d requests", n)
	}
	for _, b := range []*box{one, two} {
		for _, seen := range b.ollama.Seen() {
			if seen.Header.Get(naming) != "" {
				t.Errorf("%s has seen the header", b.name)
			}
		}
	}
}

// TestAnOllamasOwnHeaderIsNotBelieved.
func TestAnOllamasOwnHeaderIsNotBelieved(t *testing.T) {
	t.Parallel()
	one, two := newBox(t, "one", standin.Options{}), newBox(t, "two", standin.Options{})
	for _, b := range []*box{one, two} {
		b.fails(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(naming, "evil")
			fmt.Fprint(w, `{}`)
		})
	}
	s := startPool(t, config{}, one, two)
	if a := s.ask(t, "POST", "/api/chat", forModel("tiny")); a.header.Get(naming) != "" {
		t.Errorf("%v", a.header)
	}
	if a := asManager(s, t, "POST", "/api/chat", forModel("tiny")); a.header.Get(naming) == "evil" {
		t.Errorf("%v", a.header)
	}
}

// TestTheOneOllamaHasANameToo: who means another one is not to change this one.
func TestTheOneOllamaHasANameToo(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	if a := asManager(s, t, "DELETE", "/api/delete", `{"model":"tiny"}`, naming+": gpu2"); a.status != 400 || !strings.Contains(a.body, s.upstream) {
		t.Errorf("%v %s", a, a.body)
	}
	s.nothingArrived(t)
	if a := asManager(s, t, "DELETE", "/api/delete", `{"model":"tiny"}`, naming+": "+s.upstream); a.status != 200 {
		t.Errorf("%v %s", a, a.body)
	}
}

// TestWhatIsForOneOllamaNamesIt: a model is made where its blobs were sent.
func TestWhatIsForOneOllamaNamesIt(t *testing.T) {
	t.Parallel()
	one, two := newBox(t, "one", standin.Options{}), newBox(t, "two", standin.Options{})
	s := startPool(t, config{}, one, two)
	blob := "/api/blobs/sha256:" + strings.Repeat("a", 64)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/create", `{"model":"made","from":"tiny"}`},
		{"POST", blob, "blob"},
	} {
		a := asManager(s, t, c.method, c.path, c.body)
		if a.status != 400 || !strings.Contains(a.body, naming) || !strings.Contains(a.body, "one, two") {
			t.Errorf("%s: %v %s", c.path, a, a.body)
		}
	}
	if n := one.requests() + two.requests(); n != 0 {
		t.Errorf("%d requests reached them", n)
	}
	if a := asManager(s, t, "POST", "/api/create", `{"model":"made","from":"tiny"}`, naming+": two"); a.status != 200 {
		t.Errorf("%v %s", a, a.body)
	}
	if slices.Contains(hasModel(one, t), "made:latest") || !slices.Contains(hasModel(two, t), "made:latest") {
		t.Error("the model was made elsewhere")
	}
	if a := asManager(s, t, "POST", "/api/push", `{"model":"made"}`); a.status != 200 || !strings.Contains(a.body, `"success"`) || a.header.Get(naming) != "two" {
		t.Errorf("push: %v %s", a, a.body)
	}
}

// TestABlobThatIsForNobodyIsRefused at once, also where it is so large that it
// would be passed on as it comes.
func TestABlobThatIsForNobodyIsRefused(t *testing.T) {
	t.Parallel()
	several := startPool(t, config{}, newBox(t, "one", standin.Options{}), newBox(t, "two", standin.Options{}))
	alone := start(t, config{})
	for _, c := range []struct {
		site    *site
		headers []string
	}{{several, nil}, {several, []string{naming + ": three"}}, {alone, []string{naming + ": three"}}} {
		w := c.site.dial(t)
		headers := append(c.headers, bearer(c.site.admin), "Content-Length: 2000000")
		w.write("%s\r\n", head("POST", "/api/blobs/sha256:"+strings.Repeat("a", 64), headers...))
		if a := w.answer("POST"); a.status != 400 || !strings.Contains(a.body, "Ollama") {
			t.Errorf("%q: %v %s", c.headers, a, a.body)
		}
		w.closed()
	}
}
