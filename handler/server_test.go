package handler_test

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
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// operate asks the listener for those who operate the proxy.
func operate(s *site, t *testing.T, method, path string) answer {
	t.Helper()
	w := dial(t, s.private)
	defer w.Close()
	w.write("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, path, s.private)
	return w.answer(method)
}

// drain begins the drain and waits until it has.
func drainSite(s *site, t *testing.T) {
	t.Helper()
	s.stop()
	for until := time.Now().Add(patience); operate(s, t, "GET", "/readyz").status != 503; {
		if time.Now().After(until) {
			t.Fatal("the drain does not begin")
		}
	}
}

// returned waits for Serve to return nil, and sees that nobody listens any more.
func serveReturned(s *site, t *testing.T) {
	t.Helper()
	if err := await(t, s.served, "Serve to return"); err != nil {
		t.Errorf("Serve: %v", err)
	}
	for _, address := range []string{s.public, s.private} {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			t.Errorf("%s still listens", address)
		}
	}
}

// TestDrain: what runs may finish, what is new is sent elsewhere.
func TestDrain(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	s := start(t, config{ollama: standin.Options{Step: step}, grace: time.Hour})

	idle := s.dial(t)
	idle.send("GET", "/api/version", "", bearer(s.key))
	if got := idle.answer("GET"); got.status != 200 {
		t.Fatal(got)
	}
	unused := s.dial(t)
	var begun []*http.Response
	for _, c := range chats {
		w := s.dial(t)
		w.send("POST", c.path, c.ask("tiny", true), bearer(s.key))
		begun = append(begun, w.begun("POST"))
	}
	if got := operate(s, t, "GET", "/readyz"); got.status != 200 {
		t.Errorf("ready: %s", got)
	}
	drainSite(s, t)

	for name, w := range map[string]*wire{"a new": s.dial(t), "an unused": unused, "an idle": idle} {
		w.send("POST", "/v1/messages", "{}", bearer(s.key))
		got := w.answer("POST")
		if got.status != 503 || got.header.Get("Retry-After") != "1" || got.err != nil {
			t.Errorf("on %s connection: %s %v", name, got, got.header)
		}
		if message, kind := errorIn(t, "/v1/messages", got.body); message != "shutting down, try again" || kind != "overloaded_error" {
			t.Errorf("on %s connection: %q, %q", name, message, kind)
		}
		w.closed()
	}
	for path, status := range map[string]int{"/readyz": 503, "/healthz": 200, "/metrics": 200} {
		if got := operate(s, t, "GET", path); got.status != status {
			t.Errorf("%s: %s", path, got)
		}
	}
	select {
	case err := <-s.served:
		t.Fatalf("Serve returned %v while streams ran", err)
	default:
	}

	close(step)
	for i, c := range chats {
		body, err := io.ReadAll(begun[i].Body)
		if err != nil || !strings.Contains(string(body), c.end) {
			t.Errorf("%s: %q, %v", c.path, tailOf(string(body)), err)
		}
	}
	serveReturned(s, t)
	if outcomes := s.spy.texts("StreamEnded"); !slices.Equal(slices.Compact(outcomes), []string{"complete"}) {
		t.Errorf("recorded as %q", outcomes)
	}
	if reasons := s.spy.texts("Refused"); !slices.Equal(slices.Compact(reasons), []string{"overload"}) {
		t.Errorf("recorded as %q", reasons)
	}
}

// TestTheDelayOfADrain: nothing is refused until it is over, but clients are
// asked to go elsewhere.
func TestTheDelayOfADrain(t *testing.T) {
	t.Parallel()
	s := start(t, config{delay: time.Hour})
	kept := s.dial(t)
	useKey(s, t, kept)
	drainSite(s, t)
	for name, w := range map[string]*wire{"a kept": kept, "a new": s.dial(t)} {
		w.send("POST", "/api/chat", chats[0].ask("tiny", true), bearer(s.key))
		got := w.answer("POST")
		if got.status != 200 || got.err != nil || !strings.Contains(got.body, chats[0].end) {
			t.Errorf("on %s connection: %s %v", name, got, got.header)
		}
		w.closed()
	}
	if got := operate(s, t, "GET", "/healthz"); got.status != 200 {
		t.Errorf("alive: %s", got)
	}
	s.listeners[0].Close()
	if err := await(t, s.served, "Serve to return"); err == nil {
		t.Error("Serve does not say that it has lost its listener")
	}
}

// TestTheEndOfTheDelay: it is one.
func TestTheEndOfTheDelay(t *testing.T) {
	t.Parallel()
	s := start(t, config{delay: brief, grace: time.Hour})
	w := s.dial(t)
	w.send("POST", "/api/chat", chats[0].ask("hang-mid", true), bearer(s.key))
	w.begun("POST")
	s.stop()
	for until := time.Now().Add(patience); s.ask(t, "GET", "/api/version", "").status != 503; {
		if time.Now().After(until) {
			t.Fatal("the delay does not end")
		}
	}
	w.Close()
	serveReturned(s, t)
}

// TestDrainOfNothing takes no time.
func TestDrainOfNothing(t *testing.T) {
	t.Parallel()
	s := start(t, config{grace: time.Hour})
	w := s.dial(t)
	w.send("GET", "/api/version", "", bearer(s.key))
	w.answer("GET")
	s.stop()
	serveReturned(s, t)
	w.closed()
}

// TestTheEndOfTheGrace: what still runs is cut, and each client can tell.
func TestTheEndOfTheGrace(t *testing.T) {
	t.Parallel()
	s := start(t, config{grace: brief})
	const message = "the proxy is shutting down"

	streaming := map[string]*wire{}
	begun := map[string]*http.Response{}
	n := 0
	for _, c := range chats {
		w := s.dial(t)
		w.send("POST", c.path, c.ask("hang-mid", true), bearer(s.key))
		streaming[c.path], begun[c.path] = w, w.begun("POST")
		n++
		s.arrival(t, n)
	}
	waiting := s.dial(t)
	waiting.send("POST", "/v1/messages", chats[5].ask("hang", true), bearer(s.key))
	s.arrival(t, n+1)
	uploading := s.dial(t)
	uploading.write("%s\r\n{", head("POST", "/api/chat", bearer(s.key), "Content-Length: 100"))
	s.spy.await(t, "Uploaded", n+2)

	s.stop()
	for _, c := range chats {
		body := brokenOff(t, streaming[c.path], c, begun[c.path])
		if got := errorEvent(t, c.path, body); got != message {
			t.Errorf("%s: %q", c.path, got)
		}
	}
	for path, w := range map[string]*wire{"/v1/messages": waiting, "/api/chat": uploading} {
		got := w.answer("POST")
		if said, _ := errorIn(t, path, got.body); got.status != 503 || got.header.Get("Retry-After") != "1" || said != message {
			t.Errorf("%s: %s %q", path, got, got.body)
		}
		w.closed()
	}
	serveReturned(s, t)
	for i := range n + 2 {
		if code := s.spy.ended(t, i+1); code != 503 {
			t.Errorf("recorded as %d", code)
		}
	}
	if outcomes := s.spy.texts("StreamEnded"); len(outcomes) != n || !slices.Equal(slices.Compact(outcomes), []string{"shutdown"}) {
		t.Errorf("recorded as %q", outcomes)
	}
	if failed := s.spy.texts("UpstreamFailed"); len(failed) != 0 {
		t.Errorf("put down to Ollama: %q", failed)
	}
	for i := range n + 1 {
		await(t, s.arrival(t, i+1).Gone, "Ollama to be let go")
	}
}

// TestTheGraceOfAClientThatDoesNotRead ends all the same.
func TestTheGraceOfAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	full := make(chan struct{})
	s := start(t, config{grace: brief, upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		line := []byte(strings.Repeat("a", 64<<10-1) + "\n")
		for n := 0; r.Context().Err() == nil; n++ {
			if n == 100 {
				close(full)
			}
			w.Write(line)
		}
	})})
	w := s.dial(t)
	w.send("POST", "/api/chat", "{}", bearer(s.key))
	res := w.begun("POST")
	await(t, full, "Ollama to send 6 MiB")
	s.stop()
	serveReturned(s, t)
	brokenOff(t, w, chats[0], res)
	if got := s.spy.texts("StreamEnded"); !slices.Equal(got, []string{"shutdown"}) {
		t.Errorf("recorded as %q", got)
	}
}

// TestTheMostInFlight: no more are let in, and those refused may come again.
func TestTheMostInFlight(t *testing.T) {
	t.Parallel()
	s := start(t, config{proxy: func(o *options) { o.MaxInFlight = 2 }})
	var held []*wire
	for i, c := range chats[:2] {
		w := s.dial(t)
		w.send("POST", c.path, c.ask("hang", true), bearer(s.key))
		held = append(held, w)
		s.arrival(t, i+1)
	}
	for _, c := range chats {
		got := s.ask(t, "POST", c.path, c.ask("tiny", true))
		if got.status != 503 || got.header.Get("Retry-After") != "1" || got.err != nil {
			t.Errorf("%s: %s %v", c.path, got, got.header)
		}
		if message, _ := errorIn(t, c.path, got.body); message != "too many requests in flight, try again" {
			t.Errorf("%s: %q", c.path, message)
		}
	}
	w := s.dial(t)
	w.send("GET", "/api/tags", "")
	if got := w.answer("GET"); got.status != 401 {
		t.Errorf("a stranger: %s", got)
	}
	if n := len(s.ollama.Seen()); n != 2 {
		t.Errorf("%d requests reached Ollama", n)
	}
	before := len(s.spy.all("RequestEnded"))
	held[0].Close()
	s.spy.await(t, "RequestEnded", before+1)
	w.send("POST", "/api/chat", chats[0].ask("tiny", true), bearer(s.key))
	if got := w.answer("POST"); got.status != 200 || got.err != nil {
		t.Errorf("when there is room: %s", got)
	}
	reasons := s.spy.texts("Refused")
	slices.Sort(reasons)
	if !slices.Equal(slices.Compact(reasons), []string{"missing", "overload"}) {
		t.Errorf("recorded as %q", reasons)
	}
}

// TestThePrivateListener has what the public one must not have, and nothing
// else.
func TestThePrivateListener(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for path, body := range map[string]string{"/metrics": "the metrics\n", "/healthz": "ok\n", "/readyz": "ok\n"} {
		if got := operate(s, t, "GET", path); got.status != 200 || got.body != body {
			t.Errorf("%s: %s %q", path, got, got.body)
		}
		if got := operate(s, t, "POST", path); got.status != 405 {
			t.Errorf("POST %s: %s", path, got)
		}
		if got := s.ask(t, "GET", path, ""); got.status != 404 || strings.Contains(got.body, body) {
			t.Errorf("%s in public: %s %q", path, got, got.body)
		}
	}
	for _, path := range []string{"/api/tags", "/v1/models", "/debug/pprof/", "/debug/vars"} {
		if got := operate(s, t, "GET", path); got.status != 404 {
			t.Errorf("%s: %s", path, got)
		}
	}
	s.nothingArrived(t)
}

// TestALostListener ends Serve with the reason, and whatever runs.
func TestALostListener(t *testing.T) {
	t.Parallel()
	for _, lose := range []func(s *site) net.Listener{
		func(s *site) net.Listener { return s.listeners[0] },
		func(s *site) net.Listener { return s.listeners[1] },
	} {
		s := start(t, config{ollama: standin.Options{Step: make(chan struct{})}})
		idle, running := s.dial(t), s.dial(t)
		useKey(s, t, idle)
		running.send("POST", "/api/chat", chats[0].ask("tiny", true), bearer(s.key))
		res := running.begun("POST")
		lose(s).Close()
		if err := await(t, s.served, "Serve to return"); err == nil {
			t.Error("Serve returned nil")
		}
		idle.closed()
		if text, err := io.ReadAll(res.Body); err != io.ErrUnexpectedEOF {
			t.Errorf("%q, %v", text, err)
		}
		s.spy.idle(t)
	}
}

// TestHeadsThatAreTooLong never get as far as Ollama.
func TestHeadsThatAreTooLong(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	w := s.dial(t)
	w.send("GET", "/api/tags", "", bearer(s.key), "X-Long: "+strings.Repeat("a", 60<<10))
	if got := w.answer("GET"); got.status != 200 {
		t.Errorf("60 KiB: %s", got)
	}
	w = s.dial(t)
	go fmt.Fprintf(w, "%s\r\n", head("GET", "/api/tags", bearer(s.key), "X-Long: "+strings.Repeat("a", 80<<10)))
	if got := w.answer("GET"); got.status != 431 {
		t.Errorf("80 KiB: %s", got)
	}
	if n := len(s.ollama.Seen()); n != 1 {
		t.Errorf("%d requests reached Ollama", n)
	}
}

// TestTheConnectionEndsAfterAnUnclearRequest: whatever follows one that can be
// read in two ways is not answered, with a key or without.
func TestTheConnectionEndsAfterAnUnclearRequest(t *testing.T) {
	t.Parallel()
	allow, err := handler.AllowOrigins([]string{"https://chat.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, config{cors: allow})
	const preflight = "OPTIONS /api/show HTTP/1.1\r\nHost: x\r\nOrigin: https://chat.example.com\r\nAccess-Control-Request-Method: POST\r\n"
	for _, key := range []string{bearer(s.key), "X-No: key"} {
		for name, request := range map[string]string{
			"both framings":             head("POST", "/api/show", key, "Content-Length: 5", "Transfer-Encoding: chunked") + "\r\n0\r\n\r\n",
			"both, the other way round": head("POST", "/api/show", key, "Transfer-Encoding: chunked", "Content-Length: 200") + "\r\n0\r\n\r\n",
			"both, without a body":      head("GET", "/api/tags", key, "Transfer-Encoding: chunked", "Content-Length: 0") + "\r\n0\r\n\r\n",
			"both, in a preflight":      preflight + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"chunked HTTP/1.0":          "POST /api/show HTTP/1.0\r\nConnection: keep-alive\r\n" + key + "\r\nTransfer-Encoding: chunked\r\n\r\n",
		} {
			w := s.dial(t)
			w.write("%s%s\r\n", request, head("GET", "/api/version", bearer(s.key)))
			if got := w.answer("POST"); got.err != nil {
				t.Errorf("%s: %s", name, got)
			}
			w.closed()
		}
	}
	for _, seen := range s.ollama.Seen() {
		if seen.URI == "/api/version" {
			t.Error("what follows reached Ollama")
		}
	}
}

// TestOllamaIsLookedAfter from the start.
func TestOllamaIsLookedAfter(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{"": "true", nobody: "false"} {
		s := start(t, config{address: address})
		if got := s.spy.await(t, "UpstreamUp", 1).text; got != want {
			t.Errorf("UpstreamUp(%s)", got)
		}
	}
}
