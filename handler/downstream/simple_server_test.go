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

// echo answers in every way that a handler may.
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
		control.SetWriteDeadline(time.Unix(1, 0)) // is for this answer alone
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

// exchangesOf sends raw and gives all that comes back, as far as it can be
// compared, until the server closes the connection.
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

// serveBoth serves a handler as plain requests are, and with net/http alone.
func serveBoth(t *testing.T, h http.HandlerFunc) (plain, standard string, handedOver *atomic.Int32) {
	t.Helper()
	handedOver = &atomic.Int32{}
	ours, theirs := handlertest.Listen(t), handlertest.Listen(t)
	rest, stop := downstream.ServePlain(ours, h, true)
	for _, l := range []net.Listener{counting{rest, handedOver}, theirs} {
		server := &http.Server{Handler: h, DisableGeneralOptionsHandler: true}
		go server.Serve(l)
		t.Cleanup(func() { server.Close() })
	}
	t.Cleanup(stop)
	return ours.Addr().String(), theirs.Addr().String(), handedOver
}

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

// TestPlainAnswersAreThoseOfNetHTTP, whatever the handler does, but for the names
// of headers that HTTP does not have, which net/http leaves out as well.
func TestPlainAnswersAreThoseOfNetHTTP(t *testing.T) {
	t.Parallel()
	plain, standard, handedOver := serveBoth(t, echo)
	ends := map[string]bool{"/close": true, "/short": true, "/long": true, "/aborted": true}
	for _, path := range []string{"/nothing", "/status", "/none", "/unchanged", "/known", "/pieces", "/stream", "/gathered", "/late", "/lines", "/close", "/short", "/long", "/aborted"} {
		for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
			for _, body := range []string{"", "banana", strings.Repeat("banana", 10_000), strings.Repeat("b", 100_000)} {
				if method == "HEAD" && path == "/long" {
					continue // counts what it leaves out
				}
				request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", method, path, len(body)) + body
				if body == "" && method != "POST" {
					request = fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n\r\n", method, path)
				}
				if !ends[path] {
					request += request
				}
				ours, theirs := exchangesOf(t, plain, request), exchangesOf(t, standard, request)
				if !reflect.DeepEqual(ours, theirs) {
					t.Errorf("%s %s with %d bytes is answered\n%q, and by net/http\n%q", method, path, len(body), ours, theirs)
				}
			}
		}
	}
	if n := handedOver.Load(); n > 0 {
		t.Errorf("%d connections went to net/http", n)
	}
}

// TestAConnectionChangesHands at any byte: what has come in one piece is plain,
// what has not is for net/http, and the answers are the same.
func TestAConnectionChangesHands(t *testing.T) {
	t.Parallel()
	plain, standard, handedOver := serveBoth(t, echo)
	const (
		post = "POST /known HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nbanana"
		odd  = "POST /known?x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nba\r\n0\r\n\r\n"
		get  = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
	)
	whole := post + get + odd + post + get
	want := exchangesOf(t, standard, whole)
	for at := range len(whole) {
		if got := exchangesOf(t, plain, whole[:at], whole[at:]); !reflect.DeepEqual(got, want) {
			t.Fatalf("cut at %d of %q: %q, not %q", at, whole, got, want)
		}
	}
	if handedOver.Load() == 0 {
		t.Error("nothing went to net/http")
	}
	before := handedOver.Load()
	exchangesOf(t, plain, post+"\r\n"+post+get)
	if handedOver.Load() != before {
		t.Error("an empty line after a body is not plain")
	}
}

// TestAHeadHasNoMoreTimeForChangingHands: what is late for one is late for the
// other, but only while it is not there.
func TestAHeadHasNoMoreTimeForChangingHands(t *testing.T) {
	t.Parallel()
	server := &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: time.Hour}
	defer server.Close()
	for name, c := range map[string]struct {
		read  string
		until time.Time
		rest  string
		want  int // answers
	}{
		"half a head, late":    {"GET /known HTTP/1.1\r\nHost: x\r\n", time.Unix(1, 0), "", 0},
		"half a head, in time": {"GET /known HTTP/1.1\r\nHost: x\r\n", time.Now().Add(time.Hour), "\r\n", 1},
		"half a later head":    {"GET /known HTTP/1.1\r\nHost: x\r\n", time.Time{}, "\r\n", 1},
		"what follows a head":  {"GET /known HTTP/1.1\r\nHost: x\r\n\r\n", time.Unix(1, 0), "GET /known HTTP/1.1\r\nHost: x\r\n\r\n", 2},
	} {
		l := handlertest.Listen(t)
		public := downstream.ClientsOn(l, time.Minute)
		w := handlertest.Dial(t, l.Addr().String())
		accepted, err := public.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go server.Serve(&one{Listener: l, conn: downstream.HandOver(accepted, c.read, c.until)})
		if c.want == 0 {
			w.Closed()
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

// one is a listener that accepts one connection.
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

// TestWithoutDepartures net/http serves all.
func TestWithoutDepartures(t *testing.T) {
	t.Parallel()
	l := handlertest.Listen(t)
	rest, stop := downstream.ServePlain(l, echo, false)
	server := &http.Server{Handler: http.HandlerFunc(echo)}
	go server.Serve(rest)
	defer server.Close()
	w := handlertest.Dial(t, l.Addr().String())
	w.Send("POST", "/known", "banana")
	if got := w.Answer("POST"); got.Status != 200 || got.Body != "banana" {
		t.Error(got)
	}
	stop()
}

// TestWhoGoesOnSending after a refusal has no more taken in than belongs to the
// request that was refused.
func TestWhoGoesOnSending(t *testing.T) {
	t.Parallel()
	plain, _, _ := serveBoth(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusUnauthorized)
	})
	w := handlertest.Dial(t, plain)
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
	t.Error("64 MiB were taken")
}
