package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/e2e"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
	"github.com/ollama-proxy/ollama-proxy/handler/status"
)

// status asks the private listener for all there is to see.
func statusOf(s *handlertest.Site, t *testing.T) (st status.Status) {
	t.Helper()
	if err := handlertest.Strict(private200(s, t, "/status"), &st); err != nil {
		t.Fatal(err)
	}
	return st
}

// private200 is what the private listener answers.
func private200(s *handlertest.Site, t *testing.T, path string) string {
	t.Helper()
	w := handlertest.Dial(t, s.Private)
	defer w.Close()
	w.Writef("GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	a := w.Answer("GET")
	if a.Status != 200 {
		t.Fatalf("%s: %s", path, a)
	}
	return a.Body
}

func TestStatusShowsRequestsInFlight(t *testing.T) {
	t.Parallel()
	s, key, finish := handlertest.StartStreaming(t)
	st := statusOf(s, t)
	if st.Requests != 1 || st.Streams != 1 || len(st.Running) != 1 {
		t.Fatalf("%d requests, %d streams, %d shown", st.Requests, st.Streams, len(st.Running))
	}
	r := st.Running[0]
	if r.Key != "alice" || r.ID != key[len("OLLAMA-"):len("OLLAMA-")+36] || r.Route != "/api/chat" || r.Model != "llama3.2:latest" || r.State != "streaming" {
		t.Errorf("it is shown as %+v", r)
	}
	if r.Bytes != int64(s.Spy.Sum("Passed")) || r.Bytes == 0 || r.Age <= 0 || r.Quiet < 0 || r.Quiet > r.Age || r.Rate <= 0 {
		t.Errorf("%d bytes have passed; it is shown with %+v", s.Spy.Sum("Passed"), r)
	}
	if st.Version != "v1.2.3" || st.Revocations != 7 || st.RevocationsHash != "000000000abc" || st.SecretFingerprint != "000000000def" || st.Draining || st.KeysCounted {
		t.Errorf("the rest is %+v", st)
	}
	if u := st.Upstreams; len(u) != 1 || !u[0].Up || u[0].Models == 0 {
		t.Errorf("Ollama is shown as %+v", u)
	}
	finish()
}

func TestStatusShowsTheStateOfARequest(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Server: handlertest.WithStatus})
	waits := s.Dial(t)
	waits.Send("POST", "/api/chat", handlertest.Chats[0].Ask("hang", true), handlertest.Bearer(s.Key))
	s.AwaitRequest(t, 1)
	sends := s.Dial(t)
	sends.Writef("%s", handlertest.Head("POST", "/api/chat", handlertest.Bearer(s.Key), "Content-Length: 1000")+"\r\n{")
	s.Spy.Await(t, "KeySeen", 2)
	for w := openViewer(s, t); ; { // until its deadline
		states := map[string]bool{}
		for _, r := range nextEvent(w, t).Running {
			states[r.State] = true
		}
		if states["waiting"] && states["arriving"] {
			return
		}
	}
}

func TestStatusShowsTheOldestRequests(t *testing.T) {
	t.Parallel()
	const n = 103
	s := handlertest.Start(t, handlertest.Config{Server: handlertest.WithStatus})
	for i := range n {
		w := s.Dial(t)
		w.Send("POST", "/api/chat", handlertest.Chats[0].Ask("hang", true), handlertest.Bearer(s.Mint(false, fmt.Sprintf("label=key %d", i))))
		s.AwaitRequest(t, i+1)
	}
	st := statusOf(s, t)
	if st.Requests != n || len(st.Running) != 100 || st.Running[0].Key != "key 0" || st.Running[99].Key != "key 99" {
		t.Errorf("of %d, %d are shown, from %+v on", st.Requests, len(st.Running), st.Running[0])
	}
}

// What is secret, and what people say to each other, is nowhere to be seen.
func TestStatusHoldsNoKeyPromptOrAnswer(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{Ollama: standin.Options{Step: step}, Server: handlertest.WithStatus})
	key := s.Mint(false, "label=alice", "models=llama3.2")
	w := s.Dial(t)
	w.Send("POST", "/api/chat?plant=QUERY", `{"model":"llama3.2","stream":true,"messages":[{"role":"user","content":"PROMPT"}]}`, handlertest.Bearer(key), "User-Agent: AGENT", "Cookie: COOKIE")
	res := w.ReadHead("POST")
	s.Spy.Await(t, "Passed", 1)
	nameless := s.Dial(t)
	nameless.Send("POST", "/v1/messages", handlertest.Chats[5].Ask("hang", true), "X-Api-Key: "+s.Key)
	s.AwaitRequest(t, 2)
	refused := s.Ask(t, "POST", "/api/chat", `{"model":"SECRETMODEL","messages":[]}`, handlertest.Bearer(key))
	if refused.Status != 400 && refused.Status != 403 {
		t.Errorf("%s", refused)
	}

	viewer := handlertest.Dial(t, s.Private)
	viewer.Writef("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	events := viewer.ReadHead("GET")
	event := make([]byte, 1<<16)
	n, _ := events.Body.Read(event)
	all := private200(s, t, "/") + private200(s, t, "/status") + string(event[:n])
	if id := s.Key[len("OLLAMA-") : len("OLLAMA-")+36]; !strings.Contains(all, `"alice"`) || !strings.Contains(all, `"`+id+`"`) {
		t.Error("the keys' names are not there: there is nothing to see")
	}
	close(step)
	answer, _ := io.ReadAll(res.Body)
	var first struct{ Message struct{ Content string } }
	if json.Unmarshal(answer[:strings.IndexByte(string(answer), '\n')], &first); first.Message.Content == "" {
		t.Fatalf("no answer: %q", answer)
	}
	for _, planted := range []string{key, key[strings.LastIndexByte(key, '.')+1:], s.Key, "OLLAMA-", "PROMPT", "QUERY", "AGENT", "COOKIE", "secretmodel", "not really llama3.2"} {
		if strings.Contains(all, planted) {
			t.Errorf("%q is to be seen", planted)
		}
	}
}

func TestCountersAreReadOnDemand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int32
		s := &server.Server{InForce: handlertest.InForce{}, Totals: func() status.Totals { reads.Add(1); return handlertest.Totals() }}
		s.Proxy = handler.New(handler.Options{Upstream: &url.URL{Scheme: "http", Host: handlertest.ClosedAddress}, Recorder: handlertest.NopRecorder{}})
		look, remember := e2e.Watch(s)
		ctx, stop := context.WithCancel(t.Context())
		go remember(ctx)
		before := reads.Load()
		time.Sleep(time.Hour + time.Second)
		if n := reads.Load() - before; n != 60 {
			t.Errorf("in an hour the counters were read %d times", n)
		}
		before = reads.Load()
		for range 10 {
			look()
		}
		if n := reads.Load() - before; n != 1 {
			t.Errorf("ten look at once: the counters were read %d times", n)
		}
		stop()
		synctest.Wait()
	})
}
