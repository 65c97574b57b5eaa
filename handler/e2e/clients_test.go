package e2e_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// use has a request with a key answered on the connection.
func useKey(s *handlertest.Site, t *testing.T, w *handlertest.Wire) {
	t.Helper()
	w.Send("GET", "/api/version", "", handlertest.Bearer(s.Key))
	if got := w.Answer("GET"); got.Status != 200 || got.Err != nil {
		t.Fatal(got)
	}
}

// isOpen reports whether the proxy has left the connection open: one with half
// a head is.
func isOpen(w *handlertest.Wire) bool {
	w.T.Helper()
	w.SetReadDeadline(time.Now().Add(brief))
	_, err := w.R.Peek(1)
	w.SetReadDeadline(time.Now().Add(handlertest.Timeout))
	late := net.Error(nil)
	return errors.As(err, &late) && late.Timeout()
}

// TestUnauthenticatedConnectionsAreEvicted: clients with a key get connections however
// many there are without one, and the oldest of those without a key are closed.
func TestUnauthenticatedConnectionsAreEvicted(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{MaxConnections: 6})
	known := []*handlertest.Wire{s.Dial(t)}
	useKey(s, t, known[0])
	for round, opening := range []string{"", "GET /api/tags HTTP/1.1\r\n", handlertest.Head("GET", "/api/tags") + "\r\n"} {
		var strangers []*handlertest.Wire
		for i := range 9 {
			if i == 4 {
				w := s.Dial(t) // pushes a stranger out, and then it is known
				useKey(s, t, w)
				known = append(known, w)
			}
			w := s.Dial(t)
			w.Writef("%s", opening)
			if strings.HasSuffix(opening, "\r\n\r\n") {
				if got := w.Answer("GET"); got.Status != 401 {
					t.Fatal(got)
				}
			}
			strangers = append(strangers, w)
		}
		for i, w := range strangers {
			if i < 9-(4-round) { // each round there is one more who is known
				w.ExpectClosed()
			} else if !isOpen(w) {
				t.Errorf("after %q: stranger %d of 9 is gone", opening, i)
			}
		}
	}
	for _, w := range known {
		useKey(s, t, w)
	}
}

// TestFewUnauthenticatedConnectionsAreKept: while clients with a key have idle
// connections, a few without a key are not closed: otherwise a new client could never
// show its key.
func TestFewUnauthenticatedConnectionsAreKept(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{MaxConnections: 16})
	var known []*handlertest.Wire
	for range 16 {
		w := s.Dial(t)
		useKey(s, t, w)
		known = append(known, w)
	}
	var strangers []*handlertest.Wire
	for range 5 {
		strangers = append(strangers, s.Dial(t))
	}
	for i, w := range strangers {
		if i < 2 {
			w.ExpectClosed()
		} else {
			useKey(s, t, w)
		}
	}
	for i, w := range known {
		if i < 3 {
			w.ExpectClosed()
		} else {
			useKey(s, t, w)
		}
	}
}

// TestBusyConnectionsAreNotEvicted: an idle connection with a key is closed only if
// there is no other.
func TestBusyConnectionsAreNotEvicted(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{MaxConnections: 3, Ollama: standin.Options{Step: step}})
	var running []*http.Response
	stream := func(w *handlertest.Wire) {
		w.Send("POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true), handlertest.Bearer(s.Key))
		running = append(running, w.ReadHead("POST"))
	}
	first, idle, last := s.Dial(t), s.Dial(t), s.Dial(t)
	stream(first)
	useKey(s, t, idle)
	stream(last)

	stranger := s.Dial(t) // while there is a stranger he is who makes way
	idle.ExpectClosed()
	w := s.Dial(t)
	stranger.ExpectClosed()
	stream(w)

	s.Dial(t).ExpectClosed()
	s.Dial(t).ExpectClosed()
	close(step)
	for _, res := range running {
		if body, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(body), handlertest.Chats[0].End) {
			t.Errorf("%q, %v", tailOf(string(body)), err)
		}
	}
	useKey(s, t, s.Dial(t))
	if text, _ := s.Log.Text(); strings.Count(text, "connection limit reached") != 1 {
		t.Error("the log does not say once that there are too many connections")
	}
}

// TestAllConnectionsInUse: a further client with a key gets 503 in the dialect of the
// route.
func TestAllConnectionsInUse(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{MaxConnections: 24, Ollama: standin.Options{Step: step}})
	var running []*http.Response
	begin := func() {
		w := s.Dial(t)
		w.Send("POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true), handlertest.Bearer(s.Key))
		running = append(running, w.ReadHead("POST"))
	}
	for range 21 {
		begin()
	}
	turnedAway := 0
	for range 10 { // more than there are connections left
		for _, c := range handlertest.Chats {
			w := s.Dial(t)
			w.Send("POST", c.Path, c.Ask("tiny", true), handlertest.Bearer(s.Key))
			got := w.Answer("POST")
			if message, _ := handlertest.ErrorIn(t, c.Path, got.Body); got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "1" || message != "too many requests in flight, try again" {
				t.Fatalf("%s: %s %s", c.Path, got, got.Body)
			}
			turnedAway++
		}
	}
	close(step)
	for _, res := range running {
		if body, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(body), handlertest.Chats[0].End) {
			t.Errorf("%q, %v", tailOf(string(body)), err)
		}
	}
	useKey(s, t, s.Dial(t))
	s.Spy.Await(t, "Refused", turnedAway)
	if reasons := s.Spy.Texts("Refused"); len(reasons) != turnedAway || !slices.Equal(slices.Compact(reasons), []string{"overload"}) {
		t.Errorf("%d were turned away, and recorded as %q", turnedAway, reasons)
	}
	if text, _ := s.Log.Text(); strings.Count(text, `"level":"WARN"`) != 1 || !strings.Contains(text, `"msg":"limit of connections that carry requests reached: further requests get 503","connections":21`) {
		t.Errorf("the log does not say once that there is no room: %s", text)
	}
}

// TestLongHeadsAreLimitedTogether: the limit does not affect short heads, nor long heads
// once those that never became complete have ended.
func TestLongHeadsAreLimitedTogether(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Server: func(s *server.Server) { s.HeadTimeout = time.Hour }})
	long := handlertest.Head("GET", "/api/version", handlertest.Bearer(s.Key), "X-Long: "+strings.Repeat("a", 60<<10))
	passes := func(w *handlertest.Wire) bool {
		w.SetDeadline(time.Now().Add(handlertest.Timeout))
		w.Writef("%s\r\n", long)
		res, err := http.ReadResponse(w.R, nil)
		if err != nil || res.StatusCode != 200 {
			return false
		}
		io.Copy(io.Discard, res.Body)
		return true
	}
	regular := s.Dial(t)
	for i := range 300 { // 18 MB, but one after the other
		if !passes(regular) {
			t.Fatalf("long head %d does not pass", i)
		}
	}
	var halves []*handlertest.Wire
	for len(halves) < 400 {
		w := s.Dial(t)
		io.WriteString(w, long) // without its end; the proxy may have closed
		halves = append(halves, w)
	}
	held := func() int {
		var open atomic.Int64
		var looking sync.WaitGroup
		for _, w := range halves {
			looking.Go(func() {
				if isOpen(w) {
					open.Add(1)
				}
			})
		}
		looking.Wait()
		return int(open.Load()) * len(long)
	}
	bytes := held()
	for until := time.Now().Add(handlertest.Timeout); bytes > 2<<20 && time.Now().Before(until); {
		bytes = held() // what has been sent may not have been read yet
	}
	if bytes < 1<<20 || bytes > 2<<20 {
		t.Errorf("%d bytes of heads are held", bytes)
	}
	for range 100 { // that leave no room at all
		w := s.Dial(t)
		io.WriteString(w, handlertest.Head("GET", "/api/version", "X-Long: "+strings.Repeat("a", 5<<10)))
		halves = append(halves, w)
	}
	isOpen(halves[len(halves)-1])
	regular.SetDeadline(time.Now().Add(handlertest.Timeout))
	useKey(s, t, s.Dial(t))
	useKey(s, t, regular)
	for _, w := range []*handlertest.Wire{s.Dial(t), regular} {
		w.Send("POST", "/api/chat", handlertest.Chats[0].Ask("tiny", false)+strings.Repeat(" ", 7<<10), handlertest.Bearer(s.Key))
		if got := w.Answer("POST"); got.Status != 200 {
			t.Errorf("a body that comes with a short head: %s", got)
		}
	}
	for _, w := range halves {
		w.Close()
	}
	for until := time.Now().Add(handlertest.Timeout); !passes(s.Dial(t)); {
		if time.Now().After(until) {
			t.Fatal("long heads do not pass any more")
		}
	}
}

// TestPreflightsDoNotCountAsIncompleteHeads: however many are sent on one connection.
func TestPreflightsDoNotCountAsIncompleteHeads(t *testing.T) {
	t.Parallel()
	cors, err := server.AllowOrigins([]string{"https://chat.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	s := handlertest.Start(t, handlertest.Config{CORS: cors})
	page, long := s.Dial(t), "X-Long: "+strings.Repeat("a", 60<<10)
	for i := range 300 { // 18 MB
		page.SetDeadline(time.Now().Add(handlertest.Timeout))
		page.Send("OPTIONS", "/api/chat", "", "Origin: https://chat.example.com", "Access-Control-Request-Method: POST", long)
		if got := page.Answer("OPTIONS"); got.Status != 204 {
			t.Fatalf("preflight %d: %s", i, got)
		}
	}
	if got := s.Ask(t, "GET", "/api/version", "", long); got.Status != 200 {
		t.Error(got)
	}
}
