package handler_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

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

// TestAPullGoesToAll, and what each of them reports is told apart, by whatever a
// client goes by.
func TestAPullGoesToAll(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny", "fresh"}})
	two := newBox(t, "two", standin.Options{Models: []string{"tiny", "fresh"}})
	s := startPool(t, config{}, one, two)
	if a := asManager(s, t, "DELETE", "/api/delete", `{"model":"fresh"}`); a.status != 200 {
		t.Fatalf("%v %s", a, a.body)
	}
	a := asManager(s, t, "POST", "/api/pull", `{"model":"fresh"}`)
	if a.status != 200 || a.err != nil || a.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%v %v", a, a.header)
	}
	all := progressIn(t, a.body)
	for i, p := range all {
		last := i == len(all)-1
		name := p.Upstream
		labelled := (name == "one" || name == "two") && strings.HasPrefix(p.Status, name+": ") && (p.Digest == "" || strings.HasPrefix(p.Digest, "sha256:") && strings.HasSuffix(p.Digest, "@"+name))
		if p.Error != "" || (p == progress{Status: "success"}) != last || !last && !labelled {
			t.Errorf("line %d of %d: %+v", i, len(all), p)
		}
	}
	for _, b := range []*box{one, two} {
		if !slices.Contains(hasModel(b, t), "fresh:latest") {
			t.Errorf("%s has not pulled it", b.name)
		}
	}
	if a := asManager(s, t, "POST", "/api/pull", `{"model":"fresh","stream":false}`); a.status != 200 || a.body != `{"status":"success"}` {
		t.Errorf("%v %s", a, a.body)
	}
}

// TestAPullThatFailsSomewhere goes on elsewhere, and ends with an error that says
// where it failed, and where not.
func TestAPullThatFailsSomewhere(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny", "fresh"}})
	two := newBox(t, "two", standin.Options{Models: []string{"tiny"}})
	s := startPool(t, config{}, one, two)
	check := func(a answer, reason string) {
		t.Helper()
		all := progressIn(t, a.body)
		for i, p := range all {
			if (p.Error != "") != (i == len(all)-1) {
				t.Errorf("an error that is not at the end: %+v", p)
			}
		}
		if last := all[len(all)-1].Error; last != "two: "+reason+"; done on one" {
			t.Errorf("the end is %q", last)
		}
	}
	check(asManager(s, t, "POST", "/api/pull", `{"model":"fresh"}`), "pull model manifest: file does not exist")
	a := asManager(s, t, "POST", "/api/pull", `{"model":"fresh","stream":false}`)
	if a.status != 500 || !strings.Contains(a.body, "done on one") {
		t.Errorf("%v %s", a, a.body)
	}
	two.fails(breaks)
	check(asManager(s, t, "POST", "/api/pull", `{"model":"fresh"}`), "cannot be reached")
	two.fails(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"status":"pulling manifest"}` + "\n"))
	})
	check(asManager(s, t, "POST", "/api/pull", `{"model":"fresh"}`), "broke off")
	two.close()
	s.ask(t, "GET", "/api/tags", "")
	check(asManager(s, t, "POST", "/api/pull", `{"model":"fresh"}`), "cannot be reached")
	two.reopen()
}

// TestWhoLeavesAPullEndsIt everywhere.
func TestWhoLeavesAPullEndsIt(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny"}, Step: make(chan struct{})})
	two := newBox(t, "two", standin.Options{Models: []string{"tiny"}, Step: make(chan struct{})})
	s := startPool(t, config{}, one, two)
	w := s.dial(t)
	w.send("POST", "/api/pull", `{"model":"tiny"}`, bearer(s.admin))
	w.begun("POST")
	w.r.ReadString('\n')
	<-one.asked
	<-two.asked
	w.Close()
	for _, b := range []*box{one, two} {
		all := b.ollama.Seen()
		await(t, all[len(all)-1].Gone, b.name+" to hear of it")
	}
}

// TestACopyAndADeleteGoToAll that have the model.
func TestACopyAndADeleteGoToAll(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny", "shared"}})
	two := newBox(t, "two", standin.Options{Models: []string{"other:1b", "shared"}})
	s := startPool(t, config{}, one, two)
	both := `{"status":"one: done","upstream":"one"}` + "\n" + `{"status":"two: done","upstream":"two"}` + "\n" + `{"status":"success"}` + "\n"
	if a := asManager(s, t, "POST", "/api/copy", `{"source":"shared","destination":"again"}`); a.status != 200 || a.body != both {
		t.Errorf("%v %s", a, a.body)
	}
	if a := asManager(s, t, "DELETE", "/api/delete", `{"model":"again"}`); a.status != 200 || a.body != both {
		t.Errorf("%v %s", a, a.body)
	}
	if a := asManager(s, t, "DELETE", "/api/delete", `{"model":"tiny"}`); a.status != 200 || strings.Contains(a.body, "two") {
		t.Errorf("%v %s", a, a.body)
	}
	if a := asManager(s, t, "DELETE", "/api/delete", `{"model":"tiny"}`); a.status != 404 || a.body != `{"error":"model 'tiny' not found"}` {
		t.Errorf("%v %s", a, a.body)
	}
	if a := asManager(s, t, "DELETE", "/api/delete", `{"model":"shared"}`, naming+": two"); a.status != 200 || a.body != "" {
		t.Errorf("%v %s", a, a.body)
	}
	if !slices.Equal(hasModel(one, t), []string{"shared:latest"}) || !slices.Equal(hasModel(two, t), []string{"other:1b"}) {
		t.Errorf("left are %v and %v", hasModel(one, t), hasModel(two, t))
	}
	two.fails(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		w.Write([]byte(`{"error":"read-only file system"}`))
	})
	if a := asManager(s, t, "DELETE", "/api/delete", `{"model":"shared"}`); a.status != 500 || a.body != `{"error":"two: read-only file system; done on one"}` {
		t.Errorf("%v %s", a, a.body)
	}
	two.close()
	if a := asManager(s, t, "DELETE", "/api/delete", `{"model":"shared"}`); a.status != 502 || a.body != `{"error":"two: cannot be reached"}` {
		t.Errorf("%v %s", a, a.body)
	}
	two.reopen()
}
