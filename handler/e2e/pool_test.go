package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestRequestsGoWhereTheModelIs: on every route that names a model, wherever it stands
// in a body of any size.
func TestRequestsGoWhereTheModelIs(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny", "shared"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"other:1b", "shared", "nomic-embed-text"}})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	ask := func(path, body string) {
		t.Helper()
		method := "POST"
		if body == "" {
			method = "GET"
		}
		if a := s.Ask(t, method, path, body); a.Status != 200 {
			t.Errorf("%s: %v %s", path, a, a.Body)
		}
	}
	for range 10 {
		for _, c := range handlertest.Chats {
			for _, stream := range []bool{true, false} {
				ask(c.Path, c.Ask("tiny", stream))
				ask(c.Path, c.Ask("OTHER:1b", stream))
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

	for _, b := range []*handlertest.Box{one, two} {
		for _, seen := range b.Ollama.Seen() {
			if has := strings.HasPrefix(seen.Model, "tiny"); seen.Model != "" && has != (b == one) {
				t.Errorf("%s got a request for %s", b.Name, seen.Model)
			}
		}
	}
}

// TestModelIsLoadedOnce: requests for a model that several Ollamas have go to the one
// that has it loaded. Those that arrive together before load it on one Ollama only.
func TestModelIsLoadedOnce(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	var boxes []*handlertest.Box
	for i := range 4 {
		boxes = append(boxes, handlertest.NewBox(t, fmt.Sprint("gpu", i), standin.Options{Models: []string{"tiny"}, Step: step}))
	}
	s := handlertest.StartPool(t, handlertest.Config{}, boxes...)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { s.Ask(t, "POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true)) })
	}
	s.Spy.Await(t, "StreamStarted", 4)
	close(step)
	all.Wait()
	for range 10 {
		s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny"))
	}
	users := 0
	for _, b := range boxes {
		if b.Requests() > 0 {
			users++
		}
	}
	if users != 1 {
		t.Errorf("%d boxes have loaded the model", users)
	}
}

// TestModelLoadedByOthersIsUsed: the next probe finds a model that another client has
// made an Ollama load.
func TestModelLoadedByOthersIsUsed(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"tiny"}})
	two.Load("tiny")
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	for range 20 {
		s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny"))
	}
	if one.Requests() != 0 || two.Requests() != 20 {
		t.Errorf("%d and %d requests", one.Requests(), two.Requests())
	}
}

// TestConversationAffinity: a conversation stays on the Ollama on which it began, also
// if another one has the model loaded.
func TestConversationAffinity(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"tiny"}})
	one.Load("tiny")
	two.Load("tiny")
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	moved, places := 0, map[*handlertest.Box]int{}
	for talk := range 20 {
		history := fmt.Sprintf(`{"role":"system","content":"be \"brief\" [{"},{"role":"user","content":"question %d"}`, talk)
		var at *handlertest.Box
		for turn := range 4 {
			before := one.Requests()
			s.Ask(t, "POST", "/v1/chat/completions", fmt.Sprintf(`{"messages":[%s],"model":"tiny","n":%d}`, history, turn))
			now := two
			if one.Requests() > before {
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

// TestNoOllamaHasTheModel: the client gets the answer of an Ollama.
func TestNoOllamaHasTheModel(t *testing.T) {
	t.Parallel()
	one, two := handlertest.NewBox(t, "one", standin.Options{}), handlertest.NewBox(t, "two", standin.Options{})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("nope"))
	if a.Status != 404 || a.Body != `{"error":"model 'nope' not found"}` {
		t.Errorf("%v %s", a, a.Body)
	}
	if a := s.Ask(t, "POST", "/api/chat", `{`); a.Status != 400 || one.Requests()+two.Requests() != 2 {
		t.Errorf("%v %s", a, a.Body)
	}
}

// TestNewModelIsFound: at the first request for it. Requests for models that do not
// exist share the reads of the lists, however many there are.
func TestNewModelIsFound(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]bool{"default": false, "allow-cloud": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}})
			two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"tiny"}})
			s := handlertest.StartPool(t, handlertest.Config{Proxy: func(o *handler.Options) { o.AllowCloud = open }}, one, two)
			r, _ := http.NewRequest("POST", "http://"+two.Address+"/api/copy", strings.NewReader(`{"source":"tiny","destination":"fresh"}`))
			res, err := http.DefaultTransport.RoundTrip(r)
			if err != nil || res.StatusCode != 200 {
				t.Fatal(res, err)
			}
			res.Body.Close()
			if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("fresh")); a.Status != 200 {
				t.Errorf("%v %s", a, a.Body)
			}
			began, before := time.Now(), one.Probes.Load()
			var all sync.WaitGroup
			for i := range 100 {
				all.Go(func() { s.Ask(t, "POST", "/api/chat", handlertest.ForModel(fmt.Sprint("nope", i))) })
			}
			all.Wait()
			// Beside the one that requests wait for there may be the one that
			// each box gets every now and then.
			if n := one.PeakListProbes.Load(); n > 2 {
				t.Errorf("%d looks at once", n)
			}
			// A look is two requests. Where nothing depends on it for safety,
			// there is one at most every 2 seconds because of unknown models,
			// and every 1.5 without.
			if n, most := int(one.Probes.Load()-before), 4+4*int(time.Since(began)/time.Second); open && n > most {
				t.Errorf("%d looks because of 100 requests for unknown models, in %v", n, time.Since(began))
			}
		})
	}
}

// TestRefusedConnectionIsRetried: on one of the other Ollamas, and the one that refuses
// gets no request until it is back.
func TestRefusedConnectionIsRetried(t *testing.T) {
	t.Parallel()
	boxes := []*handlertest.Box{handlertest.NewBox(t, "one", standin.Options{}), handlertest.NewBox(t, "two", standin.Options{}), handlertest.NewBox(t, "three", standin.Options{})}
	s := handlertest.StartPool(t, handlertest.Config{}, boxes...)
	for _, b := range boxes[:2] {
		b.Close()
	}
	for i := range 20 {
		if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Status != 200 {
			t.Fatalf("request %d: %v %s", i, a, a.Body)
		}
	}
	if n := len(s.Spy.All("UpstreamFailed")); n > 2 {
		t.Errorf("%d requests went where nobody was", n)
	}
	boxes[0].Reopen()
	boxes[2].Close()
	handlertest.Eventually(s, t, func() bool { return s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")).Status == 200 })
	boxes[1].Reopen()
	boxes[2].Reopen()
}

// TestBrokenRequestIsRetriedOnce: and no more, since the request itself may crash an
// Ollama.
func TestBrokenRequestIsRetriedOnce(t *testing.T) {
	t.Parallel()
	boxes := []*handlertest.Box{handlertest.NewBox(t, "one", standin.Options{}), handlertest.NewBox(t, "two", standin.Options{}), handlertest.NewBox(t, "three", standin.Options{})}
	boxes[0].Load("tiny")
	s := handlertest.StartPool(t, handlertest.Config{}, boxes...)
	got := func() (n int) {
		for _, b := range boxes {
			n += b.Requests()
		}
		return n
	}
	boxes[0].AnswerWith(handlertest.ResetConnection)
	for range 30 {
		if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Status != 200 {
			t.Fatalf("%v %s", a, a.Body)
		}
	}
	if n := len(s.Spy.All("UpstreamRetried")); n != boxes[0].Requests() || n == 0 {
		t.Errorf("%d requests came back from one, and %d tried another", boxes[0].Requests(), n)
	}
	boxes[1].AnswerWith(handlertest.ResetConnection)
	boxes[2].AnswerWith(handlertest.ResetConnection)
	before := got()
	a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny"))
	if n := got() - before; a.Status != 502 || n != 2 {
		t.Errorf("%v %s: sent %d times", a, a.Body, n)
	}
}

// TestBegunAnswerIsNotRetried: neither if it breaks off, nor if it has the status of an
// error.
func TestBegunAnswerIsNotRetried(t *testing.T) {
	t.Parallel()
	one, two := handlertest.NewBox(t, "one", standin.Options{}), handlertest.NewBox(t, "two", standin.Options{})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	asked := 0
	for _, model := range []string{"broken", "short", "garbage", "dies-between", "huge-header"} {
		for _, c := range handlertest.Chats {
			s.Ask(t, "POST", c.Path, c.Ask(model, false))
			asked++
		}
	}
	if n := one.Requests() + two.Requests(); n != asked {
		t.Errorf("%d requests reached Ollama, not %d", n, asked)
	}
}

// TestBusyOllamaIsRetriedElsewhere: if all are busy, the client gets that answer.
func TestBusyOllamaIsRetriedElsewhere(t *testing.T) {
	t.Parallel()
	one, two := handlertest.NewBox(t, "one", standin.Options{}), handlertest.NewBox(t, "two", standin.Options{})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	one.AnswerWith(handlertest.AnswerBusy)
	for range 10 {
		if a := s.Ask(t, "POST", "/v1/chat/completions", handlertest.ForModel("tiny")); a.Status != 200 {
			t.Fatalf("%v %s", a, a.Body)
		}
	}
	two.AnswerWith(handlertest.AnswerBusy)
	a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny"))
	if a.Status != 503 || a.Err != nil || a.Body != `{"error":"server busy, please try again.  maximum pending requests exceeded"}` {
		t.Errorf("%v %q", a, a.Body)
	}
}

// TestBusyAnswerThatBreaksOff: half of it never looks complete.
func TestBusyAnswerThatBreaksOff(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"tiny"}})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	half := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "20")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, `{"error":`)
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	one.AnswerWith(half)
	two.AnswerWith(half)
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Status == 503 && a.Err == nil {
		t.Errorf("%v %q", a, a.Body)
	}
	two.Fault.Store(nil)
	for range 10 {
		if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Status != 200 {
			t.Fatalf("%v %s", a, a.Body)
		}
	}
}

// TestDownOllamaFinishesItsAnswers: an Ollama that is marked down finishes the answers
// it has begun, while it is probed.
func TestDownOllamaFinishesItsAnswers(t *testing.T) {
	t.Parallel()
	one, two := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}}), handlertest.NewBox(t, "two", standin.Options{Models: []string{"other:1b"}})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	begun, over := make(chan struct{}), make(chan struct{})
	one.AnswerWith(func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := w.(http.Hijacker).Hijack() // outlives the server
		close(begun)
		go func() {
			<-over
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
			c.Close()
		}()
	})
	early := s.Dial(t)
	early.Send("POST", "/api/chat", handlertest.ForModel("tiny"), handlertest.Bearer(s.Key))
	<-begun
	one.Fault.Store(nil)
	one.Close()
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Status != 502 {
		t.Errorf("nobody is there: %v %s", a, a.Body)
	}
	close(over)
	if a := early.Answer("POST"); a.Status != 200 {
		t.Errorf("what ran already: %v %s", a, a.Body)
	}
	looks := func() (n int) {
		for _, e := range s.Spy.All("UpstreamUp") {
			if e.N == 1 && e.Text == "false" {
				n++
			}
		}
		return n
	}
	before := looks()
	handlertest.Eventually(s, t, func() bool { return looks() >= before+2 })
	one.Reopen()
	handlertest.Eventually(s, t, func() bool { return s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")).Status == 200 })
}

// TestAllOllamasAreDown: the client gets an error at once.
func TestAllOllamasAreDown(t *testing.T) {
	t.Parallel()
	one, two := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny"}}), handlertest.NewBox(t, "two", standin.Options{})
	s := handlertest.StartPool(t, handlertest.Config{Proxy: func(o *handler.Options) { o.FirstByteTimeout = time.Hour }}, one, two)
	two.Close()
	for _, want := range []struct {
		model, message string
		status         int
	}{{"other:1b", "no Ollama that has the model can be reached", 502}, {"tiny", "", 200}} {
		a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel(want.model))
		if a.Status != want.status || !strings.Contains(a.Body, want.message) {
			t.Errorf("%s: %v %s", want.model, a, a.Body)
		}
	}
	one.Close()
	for _, c := range handlertest.Chats {
		a := s.Ask(t, "POST", c.Path, c.Ask("tiny", true))
		if message, _ := handlertest.ErrorIn(t, c.Path, a.Body); a.Status != 502 || !strings.Contains(message, "can be reached") {
			t.Errorf("%v %s", a, a.Body)
		}
	}
	two.Reopen()
	one.Reopen()
}

// TestUpstreamStates: the state of each Ollama, as the status page shows it.
func TestUpstreamStates(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny", "other:1b"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"shared"}})
	one.Load("other:1b")
	s := handlertest.StartPool(t, handlertest.Config{}, two, one)
	two.Close()
	s.Ask(t, "POST", "/api/chat", handlertest.ForModel("shared"))
	handlertest.Eventually(s, t, func() bool {
		return fmt.Sprint(s.Proxy.UpstreamStates()) == "[{one true 1 0 [other:1b tiny:latest] [other:1b]} {two false 1 0 [shared:latest] []}]"
	})
	two.Reopen()
}
