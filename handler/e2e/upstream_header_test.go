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

// has lists the models of a box.
func hasModel(b *handlertest.Box, t *testing.T) []string {
	t.Helper()
	res, err := http.Get("http://" + b.Address + "/v1/models")
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

// TestUpstreamHeaderSelectsTheOllama: for ADMIN keys on any route. Only they get the
// header in answers.
func TestUpstreamHeaderSelectsTheOllama(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"tiny"}})
	for _, b := range []*handlertest.Box{one, two} {
		b.Fault.Store(nil)
	}
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	for range 5 {
		for _, b := range []*handlertest.Box{one, two} {
			before := b.Requests()
			for _, path := range []string{"/api/chat", "/api/tags", "/api/ps", "/v1/models/tiny"} {
				method, body := "GET", ""
				if path == "/api/chat" {
					method, body = "POST", handlertest.ForModel("tiny")
				}
				a := handlertest.AskAdmin(s, t, method, path, body, handlertest.UpstreamHeader+": "+b.Name)
				if a.Status != 200 || a.Header.Get(handlertest.UpstreamHeader) != b.Name {
					t.Errorf("%s on %s: %v %s, from %q", path, b.Name, a, a.Body, a.Header.Get(handlertest.UpstreamHeader))
				}
			}
			if n := b.Requests() - before; n != 4 {
				t.Errorf("%s got %d of 4", b.Name, n)
			}
		}
	}
	for _, name := range []string{"three", "ONE", "one,two", "127.0.0.1"} {
		a := handlertest.AskAdmin(s, t, "POST", "/api/chat", handlertest.ForModel("tiny"), handlertest.UpstreamHeader+": "+name)
		if a.Status != 400 || !strings.Contains(a.Body, "one, two") {
			t.Errorf("%s: %v %s", name, a, a.Body)
		}
	}

	before := one.Requests() + two.Requests()
	for _, name := range []string{"one", "two", "three"} {
		a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny"), handlertest.UpstreamHeader+": "+name)
		if a.Status != 200 || a.Header.Get(handlertest.UpstreamHeader) != "" {
			t.Errorf("with an ordinary key: %v %s, from %q", a, a.Body, a.Header.Get(handlertest.UpstreamHeader))
		}
		if a := s.Ask(t, "GET", "/v1/models", "", handlertest.UpstreamHeader+": "+name); strings.Contains(a.Body, "three") || a.Status != 200 {
			t.Errorf("with an ordinary key: %v %s", a, a.Body)
		}
	}
	if n := one.Requests() + two.Requests() - before; n != 9 {
		t.Errorf("an ordinary key's header had its way: %d requests", n)
	}
	for _, b := range []*handlertest.Box{one, two} {
		for _, seen := range b.Ollama.Seen() {
			if seen.Header.Get(handlertest.UpstreamHeader) != "" {
				t.Errorf("%s has seen the header", b.Name)
			}
		}
	}
}

func TestUpstreamHeaderFromOllamaIsDropped(t *testing.T) {
	t.Parallel()
	one, two := handlertest.NewBox(t, "one", standin.Options{}), handlertest.NewBox(t, "two", standin.Options{})
	for _, b := range []*handlertest.Box{one, two} {
		b.AnswerWith(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(handlertest.UpstreamHeader, "evil")
			fmt.Fprint(w, `{}`)
		})
	}
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Header.Get(handlertest.UpstreamHeader) != "" {
		t.Errorf("%v", a.Header)
	}
	if a := handlertest.AskAdmin(s, t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Header.Get(handlertest.UpstreamHeader) == "evil" {
		t.Errorf("%v", a.Header)
	}
}

// TestUpstreamHeaderWithOneOllama: a request that names another Ollama must not reach
// this one.
func TestUpstreamHeaderWithOneOllama(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	if a := handlertest.AskAdmin(s, t, "DELETE", "/api/delete", `{"model":"tiny"}`, handlertest.UpstreamHeader+": gpu2"); a.Status != 400 || !strings.Contains(a.Body, s.Upstream) {
		t.Errorf("%v %s", a, a.Body)
	}
	s.ExpectNoRequest(t)
	if a := handlertest.AskAdmin(s, t, "DELETE", "/api/delete", `{"model":"tiny"}`, handlertest.UpstreamHeader+": "+s.Upstream); a.Status != 200 {
		t.Errorf("%v %s", a, a.Body)
	}
}

// TestRoutesThatNeedTheUpstreamHeader: a model must be created on the Ollama to which
// its blobs were sent.
func TestRoutesThatNeedTheUpstreamHeader(t *testing.T) {
	t.Parallel()
	one, two := handlertest.NewBox(t, "one", standin.Options{}), handlertest.NewBox(t, "two", standin.Options{})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	blob := "/api/blobs/sha256:" + strings.Repeat("a", 64)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/create", `{"model":"made","from":"tiny"}`},
		{"POST", blob, "blob"},
	} {
		a := handlertest.AskAdmin(s, t, c.method, c.path, c.body)
		if a.Status != 400 || !strings.Contains(a.Body, handlertest.UpstreamHeader) || !strings.Contains(a.Body, "one, two") {
			t.Errorf("%s: %v %s", c.path, a, a.Body)
		}
	}
	if n := one.Requests() + two.Requests(); n != 0 {
		t.Errorf("%d requests reached them", n)
	}
	if a := handlertest.AskAdmin(s, t, "POST", "/api/create", `{"model":"made","from":"tiny"}`, handlertest.UpstreamHeader+": two"); a.Status != 200 {
		t.Errorf("%v %s", a, a.Body)
	}
	if slices.Contains(hasModel(one, t), "made:latest") || !slices.Contains(hasModel(two, t), "made:latest") {
		t.Error("the model was made elsewhere")
	}
	if a := handlertest.AskAdmin(s, t, "POST", "/api/push", `{"model":"made"}`); a.Status != 200 || !strings.Contains(a.Body, `"success"`) || a.Header.Get(handlertest.UpstreamHeader) != "two" {
		t.Errorf("push: %v %s", a, a.Body)
	}
}

// TestBlobWithoutUpstreamHeaderIsRefused: at once, also if it is so large that it would
// be relayed as it arrives.
func TestBlobWithoutUpstreamHeaderIsRefused(t *testing.T) {
	t.Parallel()
	several := handlertest.StartPool(t, handlertest.Config{}, handlertest.NewBox(t, "one", standin.Options{}), handlertest.NewBox(t, "two", standin.Options{}))
	alone := handlertest.Start(t, handlertest.Config{})
	for _, c := range []struct {
		site    *handlertest.Site
		headers []string
	}{{several, nil}, {several, []string{handlertest.UpstreamHeader + ": three"}}, {alone, []string{handlertest.UpstreamHeader + ": three"}}} {
		w := c.site.Dial(t)
		headers := append(c.headers, handlertest.Bearer(c.site.Admin), "Content-Length: 2000000")
		w.Writef("%s\r\n", handlertest.Head("POST", "/api/blobs/sha256:"+strings.Repeat("a", 64), headers...))
		if a := w.Answer("POST"); a.Status != 400 || !strings.Contains(a.Body, "Ollama") {
			t.Errorf("%q: %v %s", c.headers, a, a.Body)
		}
		w.ExpectClosed()
	}
}
