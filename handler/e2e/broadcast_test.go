package e2e_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

type progress struct {
	Status, Digest, Upstream, Error string
	Total, Completed                int64
}

func progressIn(t *testing.T, body string) (all []progress) {
	t.Helper()
	for line := range strings.Lines(body) {
		var p progress
		if err := json.Unmarshal([]byte(line), &p); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, p)
	}
	return all
}

// TestPullGoesToAllOllamas: the merged progress says which Ollama each line is from, in
// each field that a client may look at.
func TestPullGoesToAllOllamas(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny", "fresh"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"tiny", "fresh"}})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	if a := handlertest.AskAdmin(s, t, "DELETE", "/api/delete", `{"model":"fresh"}`); a.Status != 200 {
		t.Fatalf("%v %s", a, a.Body)
	}
	a := handlertest.AskAdmin(s, t, "POST", "/api/pull", `{"model":"fresh"}`)
	if a.Status != 200 || a.Err != nil || a.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%v %v", a, a.Header)
	}
	all := progressIn(t, a.Body)
	for i, p := range all {
		last := i == len(all)-1
		name := p.Upstream
		labelled := (name == "one" || name == "two") && strings.HasPrefix(p.Status, name+": ") && (p.Digest == "" || strings.HasPrefix(p.Digest, "sha256:") && strings.HasSuffix(p.Digest, "@"+name))
		if p.Error != "" || (p == progress{Status: "success"}) != last || !last && !labelled {
			t.Errorf("line %d of %d: %+v", i, len(all), p)
		}
	}
	for _, b := range []*handlertest.Box{one, two} {
		if !slices.Contains(hasModel(b, t), "fresh:latest") {
			t.Errorf("%s has not pulled it", b.Name)
		}
	}
	if a := handlertest.AskAdmin(s, t, "POST", "/api/pull", `{"model":"fresh","stream":false}`); a.Status != 200 || a.Body != `{"status":"success"}` {
		t.Errorf("%v %s", a, a.Body)
	}
}

// TestPullThatFailsOnOneOllama: the pull goes on at the others, and ends with an error
// that names those that failed and those that did not.
func TestPullThatFailsOnOneOllama(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny", "fresh"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"tiny"}})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	check := func(a handlertest.Answer, reason string) {
		t.Helper()
		all := progressIn(t, a.Body)
		for i, p := range all {
			if (p.Error != "") != (i == len(all)-1) {
				t.Errorf("an error that is not at the end: %+v", p)
			}
		}
		if last := all[len(all)-1].Error; last != "two: "+reason+"; done on one" {
			t.Errorf("the end is %q", last)
		}
	}
	check(handlertest.AskAdmin(s, t, "POST", "/api/pull", `{"model":"fresh"}`), "pull model manifest: file does not exist")
	a := handlertest.AskAdmin(s, t, "POST", "/api/pull", `{"model":"fresh","stream":false}`)
	if a.Status != 500 || !strings.Contains(a.Body, "done on one") {
		t.Errorf("%v %s", a, a.Body)
	}
	two.AnswerWith(handlertest.ResetConnection)
	check(handlertest.AskAdmin(s, t, "POST", "/api/pull", `{"model":"fresh"}`), "cannot be reached")
	two.AnswerWith(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"status":"pulling manifest"}` + "\n"))
	})
	check(handlertest.AskAdmin(s, t, "POST", "/api/pull", `{"model":"fresh"}`), "broke off")
	two.Close()
	s.Ask(t, "GET", "/api/tags", "")
	check(handlertest.AskAdmin(s, t, "POST", "/api/pull", `{"model":"fresh"}`), "cannot be reached")
	two.Reopen()
}

func TestLeavingAPullEndsItEverywhere(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}, Step: make(chan struct{})})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"tiny"}, Step: make(chan struct{})})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	w := s.Dial(t)
	w.Send("POST", "/api/pull", `{"model":"tiny"}`, handlertest.Bearer(s.Admin))
	w.ReadHead("POST")
	w.R.ReadString('\n')
	<-one.Asked
	<-two.Asked
	w.Close()
	for _, b := range []*handlertest.Box{one, two} {
		all := b.Ollama.Seen()
		handlertest.Await(t, all[len(all)-1].Gone, b.Name+" to hear of it")
	}
}

// TestCopyAndDeleteGoToAllOllamas: to all that have the model.
func TestCopyAndDeleteGoToAllOllamas(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny", "shared"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"other:1b", "shared"}})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	both := `{"status":"one: done","upstream":"one"}` + "\n" + `{"status":"two: done","upstream":"two"}` + "\n" + `{"status":"success"}` + "\n"
	if a := handlertest.AskAdmin(s, t, "POST", "/api/copy", `{"source":"shared","destination":"again"}`); a.Status != 200 || a.Body != both {
		t.Errorf("%v %s", a, a.Body)
	}
	if a := handlertest.AskAdmin(s, t, "DELETE", "/api/delete", `{"model":"again"}`); a.Status != 200 || a.Body != both {
		t.Errorf("%v %s", a, a.Body)
	}
	if a := handlertest.AskAdmin(s, t, "DELETE", "/api/delete", `{"model":"tiny"}`); a.Status != 200 || strings.Contains(a.Body, "two") {
		t.Errorf("%v %s", a, a.Body)
	}
	if a := handlertest.AskAdmin(s, t, "DELETE", "/api/delete", `{"model":"tiny"}`); a.Status != 404 || a.Body != `{"error":"model 'tiny' not found"}` {
		t.Errorf("%v %s", a, a.Body)
	}
	if a := handlertest.AskAdmin(s, t, "DELETE", "/api/delete", `{"model":"shared"}`, handlertest.UpstreamHeader+": two"); a.Status != 200 || a.Body != "" {
		t.Errorf("%v %s", a, a.Body)
	}
	if !slices.Equal(hasModel(one, t), []string{"shared:latest"}) || !slices.Equal(hasModel(two, t), []string{"other:1b"}) {
		t.Errorf("left are %v and %v", hasModel(one, t), hasModel(two, t))
	}
	two.AnswerWith(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		w.Write([]byte(`{"error":"read-only file system"}`))
	})
	if a := handlertest.AskAdmin(s, t, "DELETE", "/api/delete", `{"model":"shared"}`); a.Status != 500 || a.Body != `{"error":"two: read-only file system; done on one"}` {
		t.Errorf("%v %s", a, a.Body)
	}
	two.Close()
	if a := handlertest.AskAdmin(s, t, "DELETE", "/api/delete", `{"model":"shared"}`); a.Status != 502 || a.Body != `{"error":"two: cannot be reached"}` {
		t.Errorf("%v %s", a, a.Body)
	}
	two.Reopen()
}
