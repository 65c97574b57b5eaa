package handler_test

import (
	"bufio"
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
	"unsafe"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

const plainHead = "POST /api/chat HTTP/1.1\r\nHost: gpu.example:8080\r\nAuthorization: Bearer k\r\nContent-Length: 2\r\n"

// TestWhatIsPlain is the policy: what clients of Ollama send is plain, and all
// that has ever been used to smuggle a request is not.
func TestWhatIsPlain(t *testing.T) {
	t.Parallel()
	for head, plain := range map[string]bool{
		plainHead + "\r\n":                                                     true,
		plainHead + "\r\n{}GET / HTTP/1.1\r\n":                                 true,
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                    true,
		"HEAD /api/tags HTTP/1.1\r\nhost: x\r\n\r\n":                           true,
		"DELETE /api/delete HTTP/1.1\r\nHOST:x\r\nUser-Agent:   a b  \r\n\r\n": true,
		plainHead + "Connection: keep-alive\r\n\r\n":                           true,
		plainHead + "Connection: Close\r\n\r\n":                                true,
		plainHead + "X-Empty:\r\n\r\n":                                         true,
		plainHead + "X-Twice: a\r\nx-twice: b\r\n\r\n":                         true,
		plainHead + "Content-Encoding: zstd\r\nAccept: */*\r\n\r\n":            true,
		"GET /api/blobs/sha256:0a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n":          true,

		"":               false,
		plainHead:        false, // not whole
		plainHead + "\r": false,
		strings.ReplaceAll(plainHead, "\r\n", "\n") + "\n":                             false,
		plainHead + "X: a\nY: b\r\n\r\n":                                               false,
		plainHead + "X: a\rY: b\r\n\r\n":                                               false,
		plainHead + "X: a\x00\r\n\r\n":                                                 false,
		plainHead + "X: a\tb\r\n\r\n":                                                  false,
		plainHead + "X: ä\r\n\r\n":                                                     false,
		plainHead + " folded\r\n\r\n":                                                  false,
		plainHead + "X : a\r\n\r\n":                                                    false,
		plainHead + ": a\r\n\r\n":                                                      false,
		plainHead + "X_Y: a\r\n\r\n":                                                   false,
		plainHead + "no colon\r\n\r\n":                                                 false,
		plainHead + "Host: x\r\n\r\n":                                                  false,
		plainHead + "Content-Length: 2\r\n\r\n":                                        false,
		plainHead + "Transfer-Encoding: chunked\r\n\r\n":                               false,
		plainHead + "Trailer: X\r\n\r\n":                                               false,
		plainHead + "TE: trailers\r\n\r\n":                                             false,
		plainHead + "Upgrade: h2c\r\n\r\n":                                             false,
		plainHead + "HTTP2-Settings: AAA\r\n\r\n":                                      false,
		plainHead + "Expect: 100-continue\r\n\r\n":                                     false,
		plainHead + "Pragma: no-cache\r\n\r\n":                                         false,
		plainHead + "Connection: Authorization\r\n\r\n":                                false,
		plainHead + "Connection: close, x\r\n\r\n":                                     false,
		plainHead + "Connection: close\r\nConnection: keep-alive\r\n\r\n":              false,
		plainHead + strings.Repeat("X: a\r\n", 40) + "\r\n":                            false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n":                false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n":                     false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n":                   false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n": false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n":                        false,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\n":                    false,
		"GET / HTTP/1.1\r\n\r\n":                                                       false,
		"GET / HTTP/1.1\r\nHost:\r\n\r\n":                                              false,
		"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n":                                          false,
		"GET / HTTP/1.1\r\nHost: u@x\r\n\r\n":                                          false,
		"GET / HTTP/1.0\r\nHost: x\r\n\r\n":                                            false,
		"GET / HTTP/1.2\r\nHost: x\r\n\r\n":                                            false,
		"GET / http/1.1\r\nHost: x\r\n\r\n":                                            false,
		"GET /\r\nHost: x\r\n\r\n":                                                     false,
		"GET  / HTTP/1.1\r\nHost: x\r\n\r\n":                                           false,
		"GET / HTTP/1.1 \r\nHost: x\r\n\r\n":                                           false,
		" GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                           false,
		"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n":                                        false,
		"get / HTTP/1.1\r\nHost: x\r\n\r\n":                                            false,
		"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n":                                        false,
		"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n":                                     false,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                                             false,
		"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n":                                    false,
		"GET //x HTTP/1.1\r\nHost: x\r\n\r\n":                                          false,
		"GET /?a HTTP/1.1\r\nHost: x\r\n\r\n":                                          false,
		"GET /%61 HTTP/1.1\r\nHost: x\r\n\r\n":                                         false,
		"GET /a;b HTTP/1.1\r\nHost: x\r\n\r\n":                                         false,
		"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n":                                         false,
		"GET /a\\b HTTP/1.1\r\nHost: x\r\n\r\n":                                        false,
	} {
		if r, _ := handler.ReadPlain([]byte(head)); (r != nil) != plain {
			t.Errorf("plain: %t, of %q", r != nil, head)
		}
	}
}

// TestAMethodKeepsNoHeadInMemory: it becomes a label, and stays.
func TestAMethodKeepsNoHeadInMemory(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
		r, _ := handler.ReadPlain([]byte(method + " /api/chat HTTP/1.1\r\nHost: x\r\n\r\n"))
		if r == nil || r.Method != method {
			t.Fatalf("%s is %v", method, r)
		}
		between := uintptr(unsafe.Pointer(unsafe.StringData(r.RequestURI))) - uintptr(unsafe.Pointer(unsafe.StringData(r.Method)))
		if between == uintptr(len(method)+1) {
			t.Errorf("%s is a part of its head", method)
		}
	}
}

// FuzzPlain: what is plain, net/http reads the same way.
func FuzzPlain(f *testing.F) {
	for _, seed := range []string{
		plainHead + "\r\n{}", plainHead + "Connection: close\r\nx-API-key: k\r\nX-A: 1\r\nx-a:2 \r\n\r\n{}rest",
		"GET /v1/models/llama3.2:latest HTTP/1.1\r\nHost: [::1]:8080\r\nAccept-Encoding: gzip, deflate\r\n\r\n",
		"GET /../. HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\nReferer: http://x/?y\r\n\r\n",
		plainHead + "Transfer-Encoding: chunked\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ours, head := handler.ReadPlain(raw)
		if ours == nil {
			return
		}
		in := bytes.NewReader(raw)
		buffered := bufio.NewReaderSize(in, len(raw)+16)
		theirs, err := http.ReadRequest(buffered)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", raw, err)
		}
		if read := len(raw) - in.Len() - buffered.Buffered(); read != head {
			t.Errorf("%q: the head has %d bytes, not %d", raw, read, head)
		}
		what := func(r *http.Request) string {
			return fmt.Sprintf("%s %q %+v %s %d.%d %q %d %t %v %q", r.Method, r.RequestURI, *r.URL, r.Proto, r.ProtoMajor, r.ProtoMinor,
				r.Host, r.ContentLength, r.Close, r.TransferEncoding, r.Trailer)
		}
		if what(ours) != what(theirs) || !reflect.DeepEqual(ours.Header, theirs.Header) {
			t.Errorf("%q is\n%s %q, and to net/http\n%s %q", raw, what(ours), ours.Header, what(theirs), theirs.Header)
		}
	})
}

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
	rest, stop := handler.ServePlain(ours, h, true)
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
		public := handler.ClientsOn(l, time.Minute)
		w := handlertest.Dial(t, l.Addr().String())
		accepted, err := public.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go server.Serve(&one{Listener: l, conn: handler.HandOver(accepted, c.read, c.until)})
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
	rest, stop := handler.ServePlain(l, echo, false)
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
