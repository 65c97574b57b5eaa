package downstream_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// echo answers in a way of its own on each path: together, they are all ways in which a
// handler may use its ResponseWriter.
func echo(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	body, err := io.ReadAll(r.Body)
	w.Header().Set("X-Saw", fmt.Sprintf("%s %s %d bytes %v", r.Method, r.URL.Path, len(body), err))
	w.Header()["Content-Type"] = nil
	switch r.URL.Path {
	case "/nothing":
	case "/status":
		w.WriteHeader(http.StatusTeapot)
	case "/none":
		w.WriteHeader(http.StatusNoContent)
		if _, err := io.WriteString(w, "x"); err == nil {
			panic("a 204 has no body")
		}
	case "/unchanged":
		w.Header().Set("Content-Length", "77")
		w.WriteHeader(http.StatusNotModified)
	case "/known":
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body)
	case "/pieces":
		w.Header().Set("Content-Length", fmt.Sprint(2*len(body)))
		w.Write(body)
		control.Flush()
		w.Write(body)
	case "/stream":
		control.Flush()
		for _, b := range bytes.SplitAfter(body, []byte("a")) {
			w.Write(b)
			control.Flush()
		}
	case "/gathered":
		w.WriteHeader(http.StatusOK)
		for _, b := range bytes.SplitAfter(body, []byte("a")) {
			w.Write(b)
		}
		control.Flush()
	case "/lines":
		w.Header().Set("X-Bad", "a\r\nX-Worse: b")
		w.Header()["X Worst"] = []string{"c"}
		control.Flush()
	case "/late":
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body)
		control.Flush()
		control.SetWriteDeadline(time.Unix(1, 0)) // must not fail the next answer
	case "/close":
		w.Header().Set("Connection", "close")
		control.Flush()
	case "/short":
		w.Header().Set("Content-Length", "7")
		io.WriteString(w, "abc")
	case "/long":
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "a")
		if _, err := io.WriteString(w, "bc"); err != http.ErrContentLength {
			panic("more than announced")
		}
	case "/aborted":
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "a")
		control.Flush()
		panic(http.ErrAbortHandler)
	}
}

// exchangesOf sends the pieces as they are, and returns the answers until the server
// closes the connection, without what differs from server to server.
func exchangesOf(t *testing.T, address string, pieces ...string) (all []string) {
	t.Helper()
	w := handlertest.Dial(t, address)
	for _, piece := range pieces {
		w.Writef("%s", piece)
	}
	w.CloseWrite()
	for {
		method := "POST"
		res, err := http.ReadResponse(w.R, nil)
		if err != nil {
			return append(all, fmt.Sprint(err == io.EOF || err == io.ErrUnexpectedEOF))
		}
		if saw := res.Header.Get("X-Saw"); strings.HasPrefix(saw, "HEAD") || res.StatusCode == 304 {
			method = "HEAD"
		}
		if res.Header.Get("Date") == "" {
			t.Errorf("no Date")
		}
		res.Header.Del("Date")
		body := []byte(nil)
		if method != "HEAD" {
			body, err = io.ReadAll(res.Body)
		}
		all = append(all, fmt.Sprint(res.Proto, res.Status, res.Header, len(body), string(body[:min(100, len(body))]), err == nil, res.Close))
	}
}

// serveBoth serves a handler at one address with a SimpleServer, and at the other with
// net/http alone. It counts the connections that fell back from the one to net/http.
func serveBoth(t *testing.T, h http.HandlerFunc) (simple, standard string, fellBack *atomic.Int32) {
	t.Helper()
	fellBack = &atomic.Int32{}
	ours, theirs := handlertest.Listen(t), handlertest.Listen(t)
	fallback, stop := downstream.ServeSimple(ours, h, true)
	for _, l := range []net.Listener{counting{fallback, fellBack}, theirs} {
		server := &http.Server{Handler: h, DisableGeneralOptionsHandler: true}
		go server.Serve(l)
		t.Cleanup(func() { server.Close() })
	}
	t.Cleanup(stop)
	return ours.Addr().String(), theirs.Addr().String(), fellBack
}

// counting is a listener that counts the connections it accepts.
type counting struct {
	net.Listener
	n *atomic.Int32
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// TestSimpleServerAnswersLikeNetHTTP, whatever the handler does: a header whose name is no
// token is left out, too.
func TestSimpleServerAnswersLikeNetHTTP(t *testing.T) {
	t.Parallel()
	simple, standard, fellBack := serveBoth(t, echo)
	ends := map[string]bool{"/close": true, "/short": true, "/long": true, "/aborted": true}
	for _, path := range []string{"/nothing", "/status", "/none", "/unchanged", "/known", "/pieces", "/stream", "/gathered", "/late", "/lines", "/close", "/short", "/long", "/aborted"} {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
			for _, body := range []string{"", "banana", strings.Repeat("banana", 10_000), strings.Repeat("b", 100_000)} {
				if method == "HEAD" && path == "/long" {
					continue // net/http counts the body that it does not send
				}
				request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", method, path, len(body)) + body
				if body == "" && method != "POST" {
					request = fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n\r\n", method, path)
				}
				if !ends[path] {
					request += request
				}
				ours, theirs := exchangesOf(t, simple, request), exchangesOf(t, standard, request)
				if !reflect.DeepEqual(ours, theirs) {
					t.Errorf("%s %s with %d bytes is answered\n%q, and by net/http\n%q", method, path, len(body), ours, theirs)
				}
			}
		}
	}
	if n := fellBack.Load(); n > 0 {
		t.Errorf("%d connections went to net/http", n)
	}
}

// TestFallbackAtAnyByte: wherever the client's bytes are cut in two, so that a head is not
// in one piece and the connection falls back, the answers are the same.
func TestFallbackAtAnyByte(t *testing.T) {
	t.Parallel()
	simple, standard, fellBack := serveBoth(t, echo)
	const (
		post = "POST /known HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nbanana"
		odd  = "POST /known?x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nba\r\n0\r\n\r\n"
		get  = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
	)
	whole := post + get + odd + post + get
	want := exchangesOf(t, standard, whole)
	for at := range len(whole) {
		if got := exchangesOf(t, simple, whole[:at], whole[at:]); !reflect.DeepEqual(got, want) {
			t.Fatalf("cut at %d of %q: %q, not %q", at, whole, got, want)
		}
	}
	if fellBack.Load() == 0 {
		t.Error("no connection went to net/http")
	}
	before := fellBack.Load()
	exchangesOf(t, simple, post+"\r\n"+post+get)
	if fellBack.Load() != before {
		t.Error("an empty line after a body makes the connection fall back")
	}
}

// TestFallbackKeepsTheHeadDeadline: the first head must arrive by the deadline that was
// set before the connection fell back. Once it has, the deadline no longer counts.
func TestFallbackKeepsTheHeadDeadline(t *testing.T) {
	t.Parallel()
	server := &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: time.Hour}
	defer server.Close()
	for name, c := range map[string]struct {
		read     string
		deadline time.Time
		rest     string
		want     int // answers
	}{
		"half a head, late":    {"GET /known HTTP/1.1\r\nHost: x\r\n", time.Unix(1, 0), "", 0},
		"half a head, in time": {"GET /known HTTP/1.1\r\nHost: x\r\n", time.Now().Add(time.Hour), "\r\n", 1},
		"half a later head":    {"GET /known HTTP/1.1\r\nHost: x\r\n", time.Time{}, "\r\n", 1},
		"what follows a head":  {"GET /known HTTP/1.1\r\nHost: x\r\n\r\n", time.Unix(1, 0), "GET /known HTTP/1.1\r\nHost: x\r\n\r\n", 2},
	} {
		l := handlertest.Listen(t)
		public := downstream.NewTestListener(l, time.Minute)
		w := handlertest.Dial(t, l.Addr().String())
		accepted, err := public.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go server.Serve(&one{Listener: l, conn: downstream.Rewound(accepted, c.read, c.deadline)})
		if c.want == 0 {
			w.ExpectClosed()
			continue
		}
		for i := range c.want {
			if i == c.want-1 {
				w.Writef("%s", c.rest)
			}
			if a := w.Answer("GET"); a.Status != 200 {
				t.Errorf("%s: %v", name, a)
			}
		}
	}
}

// one is a listener that first accepts the given connection.
type one struct {
	net.Listener
	conn net.Conn
}

func (l *one) Accept() (c net.Conn, err error) {
	if c, l.conn = l.conn, nil; c == nil {
		return l.Listener.Accept()
	}
	return c, nil
}

// TestWithoutHangups: where the kernel does not report them, net/http serves every
// connection.
func TestWithoutHangups(t *testing.T) {
	t.Parallel()
	l := handlertest.Listen(t)
	fallback, stop := downstream.ServeSimple(l, echo, false)
	server := &http.Server{Handler: http.HandlerFunc(echo)}
	go server.Serve(fallback)
	defer server.Close()
	w := handlertest.Dial(t, l.Addr().String())
	w.Send("POST", "/known", "banana")
	if got := w.Answer("POST"); got.Status != 200 || got.Body != "banana" {
		t.Error(got)
	}
	stop()
}

// TestReadsOnlyTheBodyAfterARefusal: if the client sends on, no more is read than the
// body of the request that was refused.
func TestReadsOnlyTheBodyAfterARefusal(t *testing.T) {
	t.Parallel()
	simple, _, _ := serveBoth(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusUnauthorized)
	})
	w := handlertest.Dial(t, simple)
	w.Writef("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
	if got := w.Answer("POST"); got.Status != 401 || got.Err != nil {
		t.Error(got)
	}
	more := make([]byte, 64<<10)
	for sent := 0; sent < 64<<20; sent += len(more) {
		if _, err := w.Write(more); err != nil {
			return
		}
	}
	t.Error("64 MiB were read")
}
