package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestModelCreatedAMomentAgo: a request for it is allowed if it runs here, and refused
// if it runs at ollama.com.
func TestModelCreatedAMomentAgo(t *testing.T) {
	t.Parallel()
	s, ollama := startBefore(t, handlertest.Config{}, standin.Options{Models: []string{"tiny"}})
	s.Spy.Await(t, "UpstreamUp", 1) // the list has been read
	for i, c := range handlertest.Chats {
		here, remote := fmt.Sprintf("here%d", i), fmt.Sprintf("remote%d:8b", i)
		if a := s.Ask(t, "POST", c.Path, c.Ask(here, false)); a.Status != 404 {
			t.Errorf("%s, what nobody has: %d %s", c.Path, a.Status, a.Body)
		}
		ollama.Install(here, false)
		ollama.Install(remote, true)
		if a := s.Ask(t, "POST", c.Path, c.Ask(here, false)); a.Status != 200 {
			t.Errorf("%s, what is here: %d %s", c.Path, a.Status, a.Body)
		}
		a := s.Ask(t, "POST", c.Path, c.Ask("x:///library/"+remote, false))
		if message, _ := handlertest.ErrorIn(t, c.Path, a.Body); a.Status != 403 || !strings.Contains(message, "ollama.com") {
			t.Errorf("%s, what is at ollama.com: %d %s", c.Path, a.Status, a.Body)
		}
	}
	for _, seen := range seenBy(ollama) {
		if seen.Account != "" {
			t.Errorf("%s %s acts with the account", seen.URI, seen.Model)
		}
	}
}

// TestModelReplacedByARequest: after a request that may change models, the lists are
// read again.
func TestModelReplacedByARequest(t *testing.T) {
	t.Parallel()
	s, ollama := startBefore(t, handlertest.Config{}, standin.Options{Models: []string{"tiny", "other:1b"}})
	s.Spy.Await(t, "UpstreamUp", 1)
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Status != 200 {
		t.Fatal(a)
	}
	if a := handlertest.AskAdmin(s, t, "POST", "/api/pull", `{"model":"other:1b"}`); a.Status != 200 {
		t.Fatal(a)
	}
	s.Spy.Await(t, "RequestEnded", 2)
	ollama.Install("tiny", true)
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("tiny")); a.Status != 403 {
		t.Errorf("what has become remote: %d %s", a.Status, a.Body)
	}
}

// TestColdStart: a proxy that starts before Ollama allows no model until it has read
// Ollama's list, and then those on the list.
func TestColdStart(t *testing.T) {
	t.Parallel()
	l := handlertest.Listen(t)
	l.Close()
	s := handlertest.Start(t, handlertest.Config{Address: l.Addr().String()})
	if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel("mine")); a.Status != 502 {
		t.Errorf("without Ollama: %d %s", a.Status, a.Body)
	}
	ollama := standin.New(standin.Options{Models: []string{"tiny"}, Remote: []string{"mine"}})
	server := httptest.NewUnstartedServer(ollama)
	server.Listener.Close()
	server.Listener = handlertest.ListenAt(t, l.Addr().String())
	server.Start()
	t.Cleanup(server.Close)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			model, want := "mine", 403
			if i%2 == 0 {
				model, want = "tiny", 200
			}
			if a := s.Ask(t, "POST", "/api/chat", handlertest.ForModel(model)); a.Status != want {
				t.Errorf("%s: %d %s", model, a.Status, a.Body)
			}
		})
	}
	all.Wait()
	for _, seen := range seenBy(ollama) {
		if seen.Account != "" {
			t.Errorf("%s acts with the account", seen.Model)
		}
	}
}

// TestNoRequestWithoutAList: an Ollama whose list cannot be read gets no request. A
// server that is not an Ollama is not asked for a list again and again.
func TestNoRequestWithoutAList(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		status int
		list   string
		want   int
	}{
		{200, `{"models":[]}`, 200}, {200, `{"models":null}`, 200}, {200, `{"models":[{"name":"tiny"}]}`, 200},
		{200, `{"models":[{"name":"tiny","remote_host":"https://ollama.com"}]}`, 403}, {200, `{"models":[{"model":"TINY:latest","remote_model":"x"}]}`, 403},
		{404, `404 page not found`, 200}, {405, ``, 200}, {501, ``, 200},
		{200, `{"models":`, 502}, {200, ``, 502}, {200, `<html>`, 502}, {200, `[]`, 502}, {200, `{"models":5}`, 502},
		{500, `{"error":"x"}`, 502}, {502, ``, 502}, {503, ``, 502}, {401, ``, 502}, {403, ``, 502}, {429, ``, 502}, {302, ``, 502}, {204, ``, 502},
	} {
		var passed atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if handlertest.IsProbe(r) {
				w.WriteHeader(row.status)
				io.WriteString(w, row.list)
				return
			}
			passed.Add(1)
			io.WriteString(w, "{}")
		}))
		t.Cleanup(server.Close)
		s := handlertest.Start(t, handlertest.Config{Address: server.Listener.Addr().String()})
		for _, c := range handlertest.Chats {
			a := s.Ask(t, "POST", c.Path, c.Ask("tiny", false))
			if a.Status != row.want {
				t.Errorf("%s, a list of %d %q: %d %s", c.Path, row.status, row.list, a.Status, a.Body)
			}
			if row.want != 200 {
				handlertest.ErrorIn(t, c.Path, a.Body)
			}
		}
		if n := passed.Load(); (n > 0) != (row.want == 200) {
			t.Errorf("a list of %d %q: %d requests passed", row.status, row.list, n)
		}
		if a := s.Ask(t, "POST", "/api/chat", `{}`); a.Status != 200 {
			t.Errorf("no model, a list of %d: %d", row.status, a.Status)
		}
	}
}

// heldLists is an Ollama whose lists come when they are let go.
type heldLists struct {
	asked chan struct{} // for each
	reply chan string   // the names, for each
}

func (h heldLists) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/api/ps":
		io.WriteString(w, `{}`)
	case handlertest.IsProbe(r):
		h.asked <- struct{}{}
		select {
		case text := <-h.reply:
			io.WriteString(w, text)
		case <-r.Context().Done():
		}
	default:
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"done":true}`)
	}
}

// TestWaitingRequestsShareAList: requests that arrive while a list is being read wait
// for the next list, all for the same.
func TestWaitingRequestsShareAList(t *testing.T) {
	t.Parallel()
	h := heldLists{make(chan struct{}, 100), make(chan string)}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	s := handlertest.Start(t, handlertest.Config{Address: server.Listener.Addr().String()})
	handlertest.Await(t, h.asked, "the look of the beginning")
	h.reply <- `{}`
	s.Spy.Await(t, "UpstreamUp", 1)

	answers := make(chan handlertest.Answer, 50)
	ask := func() { answers <- s.Ask(t, "POST", "/api/chat", handlertest.ForModel("mine")) }
	go ask()
	handlertest.Await(t, h.asked, "a look")
	leaver := s.Dial(t)
	leaver.Send("POST", "/api/chat", handlertest.ForModel("mine"), handlertest.Bearer(s.Key))
	for range 30 {
		go ask()
	}
	s.Spy.Await(t, "RequestStarted", 32)
	leaver.Close() // its wait is over, with the look that is running
	ended499(s, t)

	h.reply <- `{"models":[]}`
	if a := handlertest.Await(t, answers, "the first answer"); a.Status != 200 {
		t.Errorf("what is in no list: %d %s", a.Status, a.Body)
	}
	handlertest.Await(t, h.asked, "the next look")
	// Of the 30, those that had asked by then wait for this one, and the others for one more.
	for n := 0; n < 30; {
		select {
		case h.reply <- `{"models":[{"name":"mine","remote_host":"x"}]}`:
		case a := <-answers:
			if n++; a.Status != 403 {
				t.Errorf("what has come to be at ollama.com meanwhile: %d %s", a.Status, a.Body)
			}
		case <-time.After(handlertest.Timeout):
			t.Fatal("they wait in vain")
		}
	}
	if more := len(h.asked); more > 1 {
		t.Errorf("%d looks more for those who came at once", more)
	}
}

// ended499 waits for a request whose client left.
func ended499(s *handlertest.Site, t *testing.T) {
	t.Helper()
	if code := s.Spy.Ended(t, 1); code != 499 {
		t.Errorf("the first to end has %d", code)
	}
}

// TestListTimeout: a request waits for a list no longer than the time limit of lists.
func TestListTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		a, _ := bubbleBefore(t, strings.NewReader(`{"model":"tiny"}`), func(r *http.Request) (*http.Response, error) {
			if !handlertest.IsProbe(r) {
				t.Error("it passes")
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		if took := time.Since(begun); a.Status != 502 || took > 20*time.Second {
			t.Errorf("after %v: %d %s", took, a.Status, a.Body)
		}
	})
}

// TestLargeBodyIsCheckedAgainAtItsEnd: the name may have been given to another model
// while Ollama waited for the end of the body.
func TestLargeBodyIsCheckedAgainAtItsEnd(t *testing.T) {
	t.Parallel()
	for _, chunked := range []bool{true, false} {
		ended, checked := make(chan error, 1), make(chan struct{}, 10)
		ollama := standin.New(standin.Options{Models: []string{"tiny"}})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if handlertest.IsProbe(r) {
				ollama.ServeHTTP(w, r)
				checked <- struct{}{}
				return
			}
			_, err := io.Copy(io.Discard, r.Body)
			ended <- err
		}))
		t.Cleanup(server.Close)
		s := handlertest.Start(t, handlertest.Config{Address: server.Listener.Addr().String()})
		s.Spy.Await(t, "UpstreamUp", 1)
		for len(checked) > 0 {
			<-checked
		}
		body := fmt.Sprintf(`{"pad":%q,"model":"late","input":"x"}`, strings.Repeat("A", 2<<20))
		w := s.Dial(t)
		end := " "
		if chunked {
			w.Writef("%s\r\n%x\r\n%s\r\n", handlertest.Head("POST", "/v1/responses", handlertest.Bearer(s.Key), "Transfer-Encoding: chunked"), len(body), body)
			end = "0\r\n\r\n"
		} else {
			w.Writef("%s\r\n%s", handlertest.Head("POST", "/v1/responses", handlertest.Bearer(s.Key), fmt.Sprintf("Content-Length: %d", len(body)+2)), body+" ")
		}
		handlertest.Await(t, checked, "the look at the end of the JSON")
		ollama.Install("late", true)
		w.Writef("%s", end)
		if a := w.Answer("POST"); a.Status != 403 {
			t.Errorf("chunked %t: %d %s", chunked, a.Status, a.Body)
		}
		if err := handlertest.Await(t, ended, "the end of the upload"); err == nil {
			t.Errorf("chunked %t: Ollama gets the whole body", chunked)
		}
	}
}
