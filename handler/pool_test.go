package handler_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestRequestsGoWhereTheModelIs on every route that names one, wherever in a body
// of whatever size.
func TestRequestsGoWhereTheModelIs(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny", "shared"}})
	two := newBox(t, "two", standin.Options{Models: []string{"other:1b", "shared", "nomic-embed-text"}})
	s := startPool(t, config{}, one, two)
	ask := func(path, body string) {
		t.Helper()
		method := "POST"
		if body == "" {
			method = "GET"
		}
		if a := s.ask(t, method, path, body); a.status != 200 {
			t.Errorf("%s: %v %s", path, a, a.body)
		}
	}
	for range 10 {
		for _, c := range chats {
			for _, stream := range []bool{true, false} {
				ask(c.path, c.ask("tiny", stream))
				ask(c.path, c.ask("OTHER:1b", stream))
			}
		}
	}
	for _, path := range []string{"/api/embed", "/v1/embeddings"} {
		ask(path, `{"model":"nomic-embed-text","input":"hi"}`)
	}
	ask("/api/show", `{"name":"tiny"}`)
	ask("/api/show", `{"model":"library/other:1b"}`)
	ask("/v1/models/tiny", "")
	ask("/v1/models/nomic-embed-text:latest", "")
	long := strings.Repeat("a", 3<<20)
	ask("/api/generate", `{"prompt":"`+long+`","model":"tiny","stream":false}`)
	ask("/api/generate", `{"prompt":"`+long+`","model":"other:1b","stream":false}`)

	for _, b := range []*box{one, two} {
		for _, seen := range b.ollama.Seen() {
			if has := strings.HasPrefix(seen.Model, "tiny"); seen.Model != "" && has != (b == one) {
				t.Errorf("%s got a request for %s", b.name, seen.Model)
			}
		}
	}
}

// TestOneLoadIsEnough: requests for a model that several have go where it is
// loaded, and those that come together before it is load it once.
func TestOneLoadIsEnough(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	var boxes []*box
	for i := range 4 {
		boxes = append(boxes, newBox(t, fmt.Sprint("gpu", i), standin.Options{Models: []string{"tiny"}, Step: step}))
	}
	s := startPool(t, config{}, boxes...)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { s.ask(t, "POST", "/api/chat", chats[0].ask("tiny", true)) })
	}
	s.spy.await(t, "StreamStarted", 4)
	close(step)
	all.Wait()
	for range 10 {
		s.ask(t, "POST", "/api/chat", forModel("tiny"))
	}
	users := 0
	for _, b := range boxes {
		if b.requests() > 0 {
			users++
		}
	}
	if users != 1 {
		t.Errorf("%d boxes have loaded the model", users)
	}
}

// TestAModelThatOthersHaveLoadedIsUsed: what a box was made to load by others is
// known after a look.
func TestAModelThatOthersHaveLoadedIsUsed(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := newBox(t, "two", standin.Options{Models: []string{"tiny"}})
	two.load("tiny")
	s := startPool(t, config{}, one, two)
	for range 20 {
		s.ask(t, "POST", "/api/chat", forModel("tiny"))
	}
	if one.requests() != 0 || two.requests() != 20 {
		t.Errorf("%d and %d requests", one.requests(), two.requests())
	}
}

// TestAConversationStays where it began, though another box could have it as
// well.
func TestAConversationStays(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := newBox(t, "two", standin.Options{Models: []string{"tiny"}})
	one.load("tiny")
	two.load("tiny")
	s := startPool(t, config{}, one, two)
	moved, places := 0, map[*box]int{}
	for talk := range 20 {
		history := fmt.Sprintf(`{"role":"system","content":"be \"brief\" [{"},{"role":"user","content":"question %d"}`, talk)
		var at *box
		for turn := range 4 {
			before := one.requests()
			s.ask(t, "POST", "/v1/chat/completions", fmt.Sprintf(`{"messages":[%s],"model":"tiny","n":%d}`, history, turn))
			now := two
			if one.requests() > before {
				now = one
			}
			if at == nil {
				at = now
				places[at]++
			} else if at != now {
				moved++
			}
			history += fmt.Sprintf(`,{"role":"assistant","content":"well"},{"role":"user","content":"and %d?"}`, turn)
		}
	}
	if moved > 0 || places[one] == 0 || places[two] == 0 {
		t.Errorf("conversations moved %d times; they began at %d and %d", moved, places[one], places[two])
	}
}

// TestNobodyHasTheModel: the client hears so from an Ollama, in its own words.
func TestNobodyHasTheModel(t *testing.T) {
	t.Parallel()
	one, two := newBox(t, "one", standin.Options{}), newBox(t, "two", standin.Options{})
	s := startPool(t, config{}, one, two)
	a := s.ask(t, "POST", "/api/chat", forModel("nope"))
	if a.status != 404 || a.body != `{"error":"model 'nope' not found"}` {
		t.Errorf("%v %s", a, a.body)
	}
	if a := s.ask(t, "POST", "/api/chat", `{`); a.status != 400 || one.requests()+two.requests() != 2 {
		t.Errorf("%v %s", a, a.body)
	}
}

// TestANewModelIsFound at the first request for it, and however many ask for what
// does not exist, they share the looks at the boxes' lists.
func TestANewModelIsFound(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]bool{"default": false, "allow-cloud": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := newBox(t, "one", standin.Options{Models: []string{"tiny"}})
			two := newBox(t, "two", standin.Options{Models: []string{"tiny"}})
			s := startPool(t, config{proxy: func(o *handler.Options) { o.AllowCloud = open }}, one, two)
			r, _ := http.NewRequest("POST", "http://"+two.at+"/api/copy", strings.NewReader(`{"source":"tiny","destination":"fresh"}`))
			res, err := http.DefaultTransport.RoundTrip(r)
			if err != nil || res.StatusCode != 200 {
				t.Fatal(res, err)
			}
			res.Body.Close()
			if a := s.ask(t, "POST", "/api/chat", forModel("fresh")); a.status != 200 {
				t.Errorf("%v %s", a, a.body)
			}
			began, before := time.Now(), one.looks.Load()
			var all sync.WaitGroup
			for i := range 100 {
				all.Go(func() { s.ask(t, "POST", "/api/chat", forModel(fmt.Sprint("nope", i))) })
			}
			all.Wait()
			// Beside the one that requests wait for there may be the one that
			// each box gets every now and then.
			if n := one.peak.Load(); n > 2 {
				t.Errorf("%d looks at once", n)
			}
			// A look is two requests. Where nothing depends on it for safety,
			// there is one at most every 2 seconds because of unknown models,
			// and every 1.5 without.
			if n, most := int(one.looks.Load()-before), 4+4*int(time.Since(began)/time.Second); open && n > most {
				t.Errorf("%d looks because of 100 requests for unknown models, in %v", n, time.Since(began))
			}
		})
	}
}

// TestARefusedRequestGoesElsewhere, to whoever is left, and the box that is gone
// is not asked again until it is back.
func TestARefusedRequestGoesElsewhere(t *testing.T) {
	t.Parallel()
	boxes := []*box{newBox(t, "one", standin.Options{}), newBox(t, "two", standin.Options{}), newBox(t, "three", standin.Options{})}
	s := startPool(t, config{}, boxes...)
	for _, b := range boxes[:2] {
		b.close()
	}
	for i := range 20 {
		if a := s.ask(t, "POST", "/api/chat", forModel("tiny")); a.status != 200 {
			t.Fatalf("request %d: %v %s", i, a, a.body)
		}
	}
	if n := len(s.spy.all("UpstreamFailed")); n > 2 {
		t.Errorf("%d requests went where nobody was", n)
	}
	boxes[0].reopen()
	boxes[2].close()
	eventually(s, t, func() bool { return s.ask(t, "POST", "/api/chat", forModel("tiny")).status == 200 })
	boxes[1].reopen()
	boxes[2].reopen()
}

// eventually tries until it is so.
func eventually(s *site, t *testing.T, so func() bool) {
	t.Helper()
	late := time.After(patience)
	for n := len(s.spy.all("UpstreamUp")); !so(); n++ {
		select {
		case <-late:
			t.Fatal("waited in vain")
		default:
			s.spy.await(t, "UpstreamUp", n+1) // something may have changed
		}
	}
}

// TestABrokenRequestIsTriedOnceMore and no more: it may be what breaks them.
func TestABrokenRequestIsTriedOnceMore(t *testing.T) {
	t.Parallel()
	boxes := []*box{newBox(t, "one", standin.Options{}), newBox(t, "two", standin.Options{}), newBox(t, "three", standin.Options{})}
	boxes[0].load("tiny")
	s := startPool(t, config{}, boxes...)
	got := func() (n int) {
		for _, b := range boxes {
			n += b.requests()
		}
		return n
	}
	boxes[0].fails(breaks)
	for range 30 {
		if a := s.ask(t, "POST", "/api/chat", forModel("tiny")); a.status != 200 {
			t.Fatalf("%v %s", a, a.body)
		}
	}
	if n := len(s.spy.all("UpstreamRetried")); n != boxes[0].requests() || n == 0 {
		t.Errorf("%d requests came back from one, and %d tried another", boxes[0].requests(), n)
	}
	boxes[1].fails(breaks)
	boxes[2].fails(breaks)
	before := got()
	a := s.ask(t, "POST", "/api/chat", forModel("tiny"))
	if n := got() - before; a.status != 502 || n != 2 {
		t.Errorf("%v %s: sent %d times", a, a.body, n)
	}
}

// TestABegunAnswerIsNeverBegunAgain: not when it breaks off, and not when it has
// an error's status.
func TestABegunAnswerIsNeverBegunAgain(t *testing.T) {
	t.Parallel()
	one, two := newBox(t, "one", standin.Options{}), newBox(t, "two", standin.Options{})
	s := startPool(t, config{}, one, two)
	asked := 0
	for _, model := range []string{"broken", "short", "garbage", "dies-between", "huge-header"} {
		for _, c := range chats {
			s.ask(t, "POST", c.path, c.ask(model, false))
			asked++
		}
	}
	if n := one.requests() + two.requests(); n != asked {
		t.Errorf("%d requests reached Ollama, not %d", n, asked)
	}
}

// TestABusyBoxSendsToTheNext, and when all are, the client gets to hear it.
func TestABusyBoxSendsToTheNext(t *testing.T) {
	t.Parallel()
	one, two := newBox(t, "one", standin.Options{}), newBox(t, "two", standin.Options{})
	s := startPool(t, config{}, one, two)
	one.fails(isBusy)
	for range 10 {
		if a := s.ask(t, "POST", "/v1/chat/completions", forModel("tiny")); a.status != 200 {
			t.Fatalf("%v %s", a, a.body)
		}
	}
	two.fails(isBusy)
	a := s.ask(t, "POST", "/api/chat", forModel("tiny"))
	if a.status != 503 || a.err != nil || a.body != `{"error":"server busy, please try again.  maximum pending requests exceeded"}` {
		t.Errorf("%v %q", a, a.body)
	}
}

// TestABusyBoxThatBreaksOffIsNoAnswer: half of what it says never looks whole.
func TestABusyBoxThatBreaksOffIsNoAnswer(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := newBox(t, "two", standin.Options{Models: []string{"tiny"}})
	s := startPool(t, config{}, one, two)
	half := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "20")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"error":`)
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	one.fails(half)
	two.fails(half)
	if a := s.ask(t, "POST", "/api/chat", forModel("tiny")); a.status == 503 && a.err == nil {
		t.Errorf("%v %q", a, a.body)
	}
	two.fault.Store(nil)
	for range 10 {
		if a := s.ask(t, "POST", "/api/chat", forModel("tiny")); a.status != 200 {
			t.Fatalf("%v %s", a, a.body)
		}
	}
}

// TestADownBoxMayStillAnswer what it had before: it is looked after none the less
// until it takes something new.
func TestADownBoxMayStillAnswer(t *testing.T) {
	t.Parallel()
	one, two := newBox(t, "one", standin.Options{Models: []string{"tiny"}}), newBox(t, "two", standin.Options{Models: []string{"other:1b"}})
	s := startPool(t, config{}, one, two)
	begun, over := make(chan struct{}), make(chan struct{})
	one.fails(func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := w.(http.Hijacker).Hijack() // outlives the server
		close(begun)
		go func() {
			<-over
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
			c.Close()
		}()
	})
	early := s.dial(t)
	early.send("POST", "/api/chat", forModel("tiny"), bearer(s.key))
	<-begun
	one.fault.Store(nil)
	one.close()
	if a := s.ask(t, "POST", "/api/chat", forModel("tiny")); a.status != 502 {
		t.Errorf("nobody is there: %v %s", a, a.body)
	}
	close(over)
	if a := early.answer("POST"); a.status != 200 {
		t.Errorf("what ran already: %v %s", a, a.body)
	}
	looks := func() (n int) {
		for _, e := range s.spy.all("UpstreamUp") {
			if e.n == 1 && e.text == "false" {
				n++
			}
		}
		return n
	}
	before := looks()
	eventually(s, t, func() bool { return looks() >= before+2 })
	one.reopen()
	eventually(s, t, func() bool { return s.ask(t, "POST", "/api/chat", forModel("tiny")).status == 200 })
}

// TestAllAreDown: the client is told at once.
func TestAllAreDown(t *testing.T) {
	t.Parallel()
	one, two := newBox(t, "one", standin.Options{Models: []string{"tiny"}}), newBox(t, "two", standin.Options{})
	s := startPool(t, config{proxy: func(o *handler.Options) { o.FirstByteTimeout = time.Hour }}, one, two)
	two.close()
	for _, want := range []struct {
		model, message string
		status         int
	}{{"other:1b", "no Ollama that has the model can be reached", 502}, {"tiny", "", 200}} {
		a := s.ask(t, "POST", "/api/chat", forModel(want.model))
		if a.status != want.status || !strings.Contains(a.body, want.message) {
			t.Errorf("%s: %v %s", want.model, a, a.body)
		}
	}
	one.close()
	for _, c := range chats {
		a := s.ask(t, "POST", c.path, c.ask("tiny", true))
		if message, _ := errorIn(t, c.path, a.body); a.status != 502 || !strings.Contains(message, "can be reached") {
			t.Errorf("%v %s", a, a.body)
		}
	}
	two.reopen()
	one.reopen()
}

// TestWhatIsKnownOfEachOllama is what the page for the operator shows.
func TestWhatIsKnownOfEachOllama(t *testing.T) {
	t.Parallel()
	one := newBox(t, "one", standin.Options{Models: []string{"tiny", "other:1b"}})
	two := newBox(t, "two", standin.Options{Models: []string{"shared"}})
	one.load("other:1b")
	s := startPool(t, config{}, two, one)
	two.close()
	s.ask(t, "POST", "/api/chat", forModel("shared"))
	eventually(s, t, func() bool {
		return fmt.Sprint(s.proxy.UpstreamStates()) == "[{one true 1 0 [other:1b tiny:latest] [other:1b]} {two false 1 0 [shared:latest] []}]"
	})
	two.reopen()
}
