package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// operate asks the listener for those who operate the proxy.
func operate(s *handlertest.Site, t *testing.T, method, path string) handlertest.Answer {
	t.Helper()
	w := handlertest.Dial(t, s.Private)
	defer w.Close()
	w.Writef("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, path, s.Private)
	return w.Answer(method)
}

// drain begins the drain and waits until it has.
func drainSite(s *handlertest.Site, t *testing.T) {
	t.Helper()
	s.Stop()
	for until := time.Now().Add(handlertest.Timeout); operate(s, t, "GET", "/readyz").Status != 503; {
		if time.Now().After(until) {
			t.Fatal("the drain does not begin")
		}
	}
}

// returned waits for Serve to return nil, and sees that nobody listens any more.
func serveReturned(s *handlertest.Site, t *testing.T) {
	t.Helper()
	if err := handlertest.Await(t, s.Served, "Serve to return"); err != nil {
		t.Errorf("Serve: %v", err)
	}
	for _, address := range []string{s.Public, s.Private} {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			t.Errorf("%s still listens", address)
		}
	}
}

// TestDrain: requests in flight finish, and new ones are refused.
func TestDrain(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{Ollama: standin.Options{Step: step}, Grace: time.Hour})

	idle := s.Dial(t)
	idle.Send("GET", "/api/version", "", handlertest.Bearer(s.Key))
	if got := idle.Answer("GET"); got.Status != 200 {
		t.Fatal(got)
	}
	unused := s.Dial(t)
	var begun []*http.Response
	for _, c := range handlertest.Chats {
		w := s.Dial(t)
		w.Send("POST", c.Path, c.Ask("tiny", true), handlertest.Bearer(s.Key))
		begun = append(begun, w.ReadHead("POST"))
	}
	if got := operate(s, t, "GET", "/readyz"); got.Status != 200 {
		t.Errorf("ready: %s", got)
	}
	drainSite(s, t)

	for name, w := range map[string]*handlertest.Wire{"a new": s.Dial(t), "an unused": unused, "an idle": idle} {
		w.Send("POST", "/v1/messages", "{}", handlertest.Bearer(s.Key))
		got := w.Answer("POST")
		if got.Status != 503 || got.Header.Get("Retry-After") != "1" || got.Err != nil {
			t.Errorf("on %s connection: %s %v", name, got, got.Header)
		}
		if message, kind := handlertest.ErrorIn(t, "/v1/messages", got.Body); message != "shutting down, try again" || kind != "overloaded_error" {
			t.Errorf("on %s connection: %q, %q", name, message, kind)
		}
		w.ExpectClosed()
	}
	for path, status := range map[string]int{"/readyz": 503, "/healthz": 200, "/metrics": 200} {
		if got := operate(s, t, "GET", path); got.Status != status {
			t.Errorf("%s: %s", path, got)
		}
	}
	select {
	case err := <-s.Served:
		t.Fatalf("Serve returned %v while streams ran", err)
	default:
	}

	close(step)
	for i, c := range handlertest.Chats {
		body, err := io.ReadAll(begun[i].Body)
		if err != nil || !strings.Contains(string(body), c.End) {
			t.Errorf("%s: %q, %v", c.Path, tailOf(string(body)), err)
		}
	}
	serveReturned(s, t)
	if outcomes := s.Spy.Texts("StreamEnded"); !slices.Equal(slices.Compact(outcomes), []string{"complete"}) {
		t.Errorf("recorded as %q", outcomes)
	}
	if reasons := s.Spy.Texts("Refused"); !slices.Equal(slices.Compact(reasons), []string{"overload"}) {
		t.Errorf("recorded as %q", reasons)
	}
}

// TestDrainDelay: until it is over, requests are served, but the connections close.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{DrainDelay: time.Hour})
	kept := s.Dial(t)
	useKey(s, t, kept)
	drainSite(s, t)
	for name, w := range map[string]*handlertest.Wire{"a kept": kept, "a new": s.Dial(t)} {
		w.Send("POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true), handlertest.Bearer(s.Key))
		got := w.Answer("POST")
		if got.Status != 200 || got.Err != nil || !strings.Contains(got.Body, handlertest.Chats[0].End) {
			t.Errorf("on %s connection: %s %v", name, got, got.Header)
		}
		w.ExpectClosed()
	}
	if got := operate(s, t, "GET", "/healthz"); got.Status != 200 {
		t.Errorf("alive: %s", got)
	}
	s.Listeners[0].Close()
	if err := handlertest.Await(t, s.Served, "Serve to return"); err == nil {
		t.Error("Serve does not say that it has lost its listener")
	}
}

// TestEndOfTheDrainDelay: the drain begins when it is over.
func TestEndOfTheDrainDelay(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{DrainDelay: brief, Grace: time.Hour})
	w := s.Dial(t)
	w.Send("POST", "/api/chat", handlertest.Chats[0].Ask("hang-mid", true), handlertest.Bearer(s.Key))
	w.ReadHead("POST")
	s.Stop()
	for until := time.Now().Add(handlertest.Timeout); s.Ask(t, "GET", "/api/version", "").Status != 503; {
		if time.Now().After(until) {
			t.Fatal("the delay does not end")
		}
	}
	w.Close()
	serveReturned(s, t)
}

// TestDrainWithoutRequests: it takes no time.
func TestDrainWithoutRequests(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Grace: time.Hour})
	w := s.Dial(t)
	w.Send("GET", "/api/version", "", handlertest.Bearer(s.Key))
	w.Answer("GET")
	s.Stop()
	serveReturned(s, t)
	w.ExpectClosed()
}

// TestEndOfTheGrace: requests still in flight are cut, and each client can see that its
// answer is incomplete.
func TestEndOfTheGrace(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Grace: brief})
	const message = "the proxy is shutting down"

	streaming := map[string]*handlertest.Wire{}
	begun := map[string]*http.Response{}
	n := 0
	for _, c := range handlertest.Chats {
		w := s.Dial(t)
		w.Send("POST", c.Path, c.Ask("hang-mid", true), handlertest.Bearer(s.Key))
		streaming[c.Path], begun[c.Path] = w, w.ReadHead("POST")
		n++
		s.AwaitRequest(t, n)
	}
	waiting := s.Dial(t)
	waiting.Send("POST", "/v1/messages", handlertest.Chats[5].Ask("hang", true), handlertest.Bearer(s.Key))
	s.AwaitRequest(t, n+1)
	uploading := s.Dial(t)
	uploading.Writef("%s\r\n{", handlertest.Head("POST", "/api/chat", handlertest.Bearer(s.Key), "Content-Length: 100"))
	s.Spy.Await(t, "Uploaded", n+2)

	s.Stop()
	for _, c := range handlertest.Chats {
		body := brokenOff(t, streaming[c.Path], c, begun[c.Path])
		if got := errorEvent(t, c.Path, body); got != message {
			t.Errorf("%s: %q", c.Path, got)
		}
	}
	for path, w := range map[string]*handlertest.Wire{"/v1/messages": waiting, "/api/chat": uploading} {
		got := w.Answer("POST")
		if said, _ := handlertest.ErrorIn(t, path, got.Body); got.Status != 503 || got.Header.Get("Retry-After") != "1" || said != message {
			t.Errorf("%s: %s %q", path, got, got.Body)
		}
		w.ExpectClosed()
	}
	serveReturned(s, t)
	for i := range n + 2 {
		if code := s.Spy.Ended(t, i+1); code != 503 {
			t.Errorf("recorded as %d", code)
		}
	}
	if outcomes := s.Spy.Texts("StreamEnded"); len(outcomes) != n || !slices.Equal(slices.Compact(outcomes), []string{"shutdown"}) {
		t.Errorf("recorded as %q", outcomes)
	}
	if failed := s.Spy.Texts("UpstreamFailed"); len(failed) != 0 {
		t.Errorf("put down to Ollama: %q", failed)
	}
	for i := range n + 1 {
		handlertest.Await(t, s.AwaitRequest(t, i+1).Gone, "Ollama to be let go")
	}
}

// TestGraceOfAClientThatDoesNotRead: it ends on time.
func TestGraceOfAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	full := make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{Grace: brief, Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		line := []byte(strings.Repeat("a", 64<<10-1) + "\n")
		for n := 0; r.Context().Err() == nil; n++ {
			if n == 100 {
				close(full)
			}
			w.Write(line)
		}
	})})
	w := s.Dial(t)
	w.Send("POST", "/api/chat", "{}", handlertest.Bearer(s.Key))
	res := w.ReadHead("POST")
	handlertest.Await(t, full, "Ollama to send 6 MiB")
	s.Stop()
	serveReturned(s, t)
	brokenOff(t, w, handlertest.Chats[0], res)
	if got := s.Spy.Texts("StreamEnded"); !slices.Equal(got, []string{"shutdown"}) {
		t.Errorf("recorded as %q", got)
	}
}

// TestMaxInFlight: further requests get 503 with Retry-After.
func TestMaxInFlight(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.MaxInFlight = 2 }})
	var held []*handlertest.Wire
	for i, c := range handlertest.Chats[:2] {
		w := s.Dial(t)
		w.Send("POST", c.Path, c.Ask("hang", true), handlertest.Bearer(s.Key))
		held = append(held, w)
		s.AwaitRequest(t, i+1)
	}
	for _, c := range handlertest.Chats {
		got := s.Ask(t, "POST", c.Path, c.Ask("tiny", true))
		if got.Status != 503 || got.Header.Get("Retry-After") != "1" || got.Err != nil {
			t.Errorf("%s: %s %v", c.Path, got, got.Header)
		}
		if message, _ := handlertest.ErrorIn(t, c.Path, got.Body); message != "too many requests in flight, try again" {
			t.Errorf("%s: %q", c.Path, message)
		}
	}
	w := s.Dial(t)
	w.Send("GET", "/api/tags", "")
	if got := w.Answer("GET"); got.Status != 401 {
		t.Errorf("a stranger: %s", got)
	}
	if n := len(s.Ollama.Seen()); n != 2 {
		t.Errorf("%d requests reached Ollama", n)
	}
	before := len(s.Spy.All("RequestEnded"))
	held[0].Close()
	s.Spy.Await(t, "RequestEnded", before+1)
	w.Send("POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true), handlertest.Bearer(s.Key))
	if got := w.Answer("POST"); got.Status != 200 || got.Err != nil {
		t.Errorf("when there is room: %s", got)
	}
	reasons := s.Spy.Texts("Refused")
	slices.Sort(reasons)
	if !slices.Equal(slices.Compact(reasons), []string{"missing", "overload"}) {
		t.Errorf("recorded as %q", reasons)
	}
}

// TestPrivateListener: it serves what the public one must not serve, and nothing else.
func TestPrivateListener(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for path, body := range map[string]string{"/metrics": "the metrics\n", "/healthz": "ok\n", "/readyz": "ok\n"} {
		if got := operate(s, t, "GET", path); got.Status != 200 || got.Body != body {
			t.Errorf("%s: %s %q", path, got, got.Body)
		}
		if got := operate(s, t, "POST", path); got.Status != 405 {
			t.Errorf("POST %s: %s", path, got)
		}
		if got := s.Ask(t, "GET", path, ""); got.Status != 404 || strings.Contains(got.Body, body) {
			t.Errorf("%s in public: %s %q", path, got, got.Body)
		}
	}
	for _, path := range []string{"/api/tags", "/v1/models", "/debug/pprof/", "/debug/vars"} {
		if got := operate(s, t, "GET", path); got.Status != 404 {
			t.Errorf("%s: %s", path, got)
		}
	}
	s.ExpectNoRequest(t)
}

// TestListenerFails: Serve ends all requests and returns the error.
func TestListenerFails(t *testing.T) {
	t.Parallel()
	for _, lose := range []func(s *handlertest.Site) net.Listener{
		func(s *handlertest.Site) net.Listener { return s.Listeners[0] },
		func(s *handlertest.Site) net.Listener { return s.Listeners[1] },
	} {
		s := handlertest.Start(t, handlertest.Config{Ollama: standin.Options{Step: make(chan struct{})}})
		idle, running := s.Dial(t), s.Dial(t)
		useKey(s, t, idle)
		running.Send("POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true), handlertest.Bearer(s.Key))
		res := running.ReadHead("POST")
		lose(s).Close()
		if err := handlertest.Await(t, s.Served, "Serve to return"); err == nil {
			t.Error("Serve returned nil")
		}
		idle.ExpectClosed()
		if text, err := io.ReadAll(res.Body); err != io.ErrUnexpectedEOF {
			t.Errorf("%q, %v", text, err)
		}
		s.Spy.Idle(t)
	}
}

// TestTooLongHeads: they do not reach Ollama.
func TestTooLongHeads(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	w := s.Dial(t)
	w.Send("GET", "/api/tags", "", handlertest.Bearer(s.Key), "X-Long: "+strings.Repeat("a", 60<<10))
	if got := w.Answer("GET"); got.Status != 200 {
		t.Errorf("60 KiB: %s", got)
	}
	w = s.Dial(t)
	go fmt.Fprintf(w, "%s\r\n", handlertest.Head("GET", "/api/tags", handlertest.Bearer(s.Key), "X-Long: "+strings.Repeat("a", 80<<10)))
	if got := w.Answer("GET"); got.Status != 431 {
		t.Errorf("80 KiB: %s", got)
	}
	if n := len(s.Ollama.Seen()); n != 1 {
		t.Errorf("%d requests reached Ollama", n)
	}
}

// TestConnectionEndsAfterAnAmbiguousRequest: what follows a request that can be read in
// two ways is not answered, with a key or without.
func TestConnectionEndsAfterAnAmbiguousRequest(t *testing.T) {
	t.Parallel()
	allow, err := server.AllowOrigins([]string{"https://chat.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	s := handlertest.Start(t, handlertest.Config{CORS: allow})
	const preflight = "OPTIONS /api/show HTTP/1.1\r\nHost: x\r\nOrigin: https://chat.example.com\r\nAccess-Control-Request-Method: POST\r\n"
	for _, key := range []string{handlertest.Bearer(s.Key), "X-No: key"} {
		for name, request := range map[string]string{
			"both framings":             handlertest.Head("POST", "/api/show", key, "Content-Length: 5", "Transfer-Encoding: chunked") + "\r\n0\r\n\r\n",
			"both, the other way round": handlertest.Head("POST", "/api/show", key, "Transfer-Encoding: chunked", "Content-Length: 200") + "\r\n0\r\n\r\n",
			"both, without a body":      handlertest.Head("GET", "/api/tags", key, "Transfer-Encoding: chunked", "Content-Length: 0") + "\r\n0\r\n\r\n",
			"both, in a preflight":      preflight + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"chunked HTTP/1.0":          "POST /api/show HTTP/1.0\r\nConnection: keep-alive\r\n" + key + "\r\nTransfer-Encoding: chunked\r\n\r\n",
		} {
			w := s.Dial(t)
			w.Writef("%s%s\r\n", request, handlertest.Head("GET", "/api/version", handlertest.Bearer(s.Key)))
			if got := w.Answer("POST"); got.Err != nil {
				t.Errorf("%s: %s", name, got)
			}
			w.ExpectClosed()
		}
	}
	for _, seen := range s.Ollama.Seen() {
		if seen.URI == "/api/version" {
			t.Error("what follows reached Ollama")
		}
	}
}

// TestOllamaIsProbed: from the start.
func TestOllamaIsProbed(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{"": "true", handlertest.ClosedAddress: "false"} {
		s := handlertest.Start(t, handlertest.Config{Address: address})
		if got := s.Spy.Await(t, "UpstreamUp", 1).Text; got != want {
			t.Errorf("UpstreamUp(%s)", got)
		}
	}
}
