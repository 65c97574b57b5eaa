package transport_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"weak"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// testServer is the Ollama that a transport connects to. It answers the n-th request
// with the n-th of its answers, on whatever connection, and records the requests.
type testServer struct {
	t         *testing.T
	transport http.RoundTripper
	url       *url.URL
	arrived   chan string // connection, method and body of each request that has been answered
	begun     chan int    // the connection of each request whose head has arrived
	closed    chan int    // connections that the transport has closed

	mu      sync.Mutex
	answers []string
	asked   []string // as arrived
	conns   []*net.TCPConn
}

// Answers that are not written as they are.
const (
	closeConn = "" // close the connection
	silence   = "silence"
)

func newServer(t *testing.T, answers ...string) *testServer {
	t.Helper()
	return newServerAt(t, handlertest.Listen(t), answers...)
}

func newServerAt(t *testing.T, l net.Listener, answers ...string) *testServer {
	t.Helper()
	f := &testServer{
		t: t, url: &url.URL{Scheme: "http", Host: l.Addr().String()}, answers: answers,
		arrived: make(chan string, 100), begun: make(chan int, 100), closed: make(chan int, 100),
	}
	f.transport = transport.New(f.url)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, conn.(*net.TCPConn))
			number := len(f.conns)
			f.mu.Unlock()
			running.Go(func() { f.serve(conn, number) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.transport.(interface{ CloseIdleConnections() }).CloseIdleConnections()
		running.Wait()
	})
	return f
}

func (f *testServer) serve(conn net.Conn, number int) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			f.closed <- number
			return
		}
		f.begun <- number
		body, err := io.ReadAll(r.Body)
		text := string(body)
		if len(text) > 40 {
			text = fmt.Sprint(len(text), " bytes")
		}
		if err != nil {
			text = err.Error()
		}
		record := fmt.Sprint(number, " ", r.Method, " ", text)
		f.mu.Lock()
		f.asked = append(f.asked, record)
		answer := fine
		if n := len(f.asked); n <= len(f.answers) {
			answer = f.answers[n-1]
		}
		f.mu.Unlock()
		if answer != silence {
			io.WriteString(conn, answer)
		}
		f.arrived <- record
		if answer == closeConn {
			return
		}
	}
}

// conn returns the server's end of the connection with that number.
func (f *testServer) conn(number int) *net.TCPConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns[number-1]
}

func (f *testServer) begin(ctx context.Context, method string, body io.Reader) (*http.Response, error) {
	r := f.request(ctx, method, body)
	return f.transport.RoundTrip(r)
}

func (f *testServer) request(ctx context.Context, method string, body io.Reader) *http.Request {
	r, err := http.NewRequestWithContext(ctx, method, f.url.JoinPath("/api/chat").String(), body)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// ask sends a request and reads the response to its end.
func (f *testServer) ask(method string, body io.Reader) (string, error) {
	f.t.Helper()
	res, err := f.begin(f.t.Context(), method, body)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return fmt.Sprint(res.StatusCode, " ", string(text)), err
}

func (f *testServer) wants(want ...string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.asked, want) {
		f.t.Errorf("the server was asked %q, want %q", f.asked, want)
	}
}

const (
	fine      = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
	endlessly = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n"
)

// TestConnectionsAreUsedAgain after a response that was read to its end, and only then.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, answer string
		again          bool
	}{
		"a length":             {"POST", fine, true},
		"chunks":               {"POST", endlessly + "0\r\n\r\n", true},
		"chunks and a trailer": {"POST", endlessly + "0\r\nX: y\r\n\r\n", true},
		"nothing":              {"POST", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true},
		"no content":           {"DELETE", "HTTP/1.1 204 No Content\r\n\r\n", true},
		"not modified":         {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", true},
		"a head":               {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", true},
		"an error":             {"POST", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\nfine", true},
		"after an interim one": {"POST", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + fine, true},
		"the last one":         {"POST", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine", false},
		"HTTP/1.0":             {"POST", "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine", false},
		"bytes beyond":         {"POST", fine + "\r\n", false},
		"an answer beyond":     {"POST", fine + fine, false},
		"a body to a head":     {"HEAD", fine, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newServer(t, c.answer)
			if _, err := f.ask(c.method, nil); err != nil {
				t.Fatal(err)
			}
			second := "1 POST again"
			if !c.again {
				handlertest.Await(t, f.closed, "the connection to be closed")
				second = "2 POST again"
			}
			if got, err := f.ask("POST", transport.InMemory("again")); got != "200 fine" || err != nil {
				t.Errorf("%s, %v", got, err)
			}
			f.wants("1 "+c.method+" ", second)
		})
	}
}

// TestAbandonedResponseClosesItsConnection, so that Ollama stops.
func TestAbandonedResponseClosesItsConnection(t *testing.T) {
	t.Parallel()
	for name, abandon := range map[string]func(res *http.Response, cancel func()){
		"closed unread": func(res *http.Response, _ func()) { res.Body.Close() },
		"closed midway": func(res *http.Response, _ func()) { res.Body.Read(make([]byte, 2)); res.Body.Close() },
		"cancelled": func(res *http.Response, cancel func()) {
			cancel()
			if text, err := io.ReadAll(res.Body); err == nil || len(text) > 4 {
				panic(fmt.Sprintf("%q, %v", text, err))
			}
		},
		// The reader may be blocked by a client that reads nothing.
		"cancelled, and not read": func(_ *http.Response, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newServer(t, endlessly)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			res, err := f.begin(ctx, "POST", nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { res.Body.Close() })
			abandon(res, cancel)
			handlertest.Await(t, f.closed, "the connection to be closed")
			if got, err := f.ask("POST", nil); got != "200 fine" || err != nil {
				t.Errorf("%s, %v", got, err)
			}
			f.wants("1 POST ", "2 POST ")
		})
	}
}

// TestCancelAfterTheEndDoesNothing: the connection may serve another request.
func TestCancelAfterTheEndDoesNothing(t *testing.T) {
	t.Parallel()
	f := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	res, err := f.begin(ctx, "POST", nil)
	if err != nil {
		t.Fatal(err)
	}
	io.ReadAll(res.Body)
	cancel()
	for range 3 {
		if got, err := f.ask("POST", nil); got != "200 fine" || err != nil {
			t.Errorf("%s, %v", got, err)
		}
	}
	f.wants("1 POST ", "1 POST ", "1 POST ", "1 POST ")
}

// TestIdleConnectionKeepsNoRequest in memory.
func TestIdleConnectionKeepsNoRequest(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{"simple": fine, "for net/http": "HTTP/1.1 200 OK\r\nX: \t\r\nContent-Length: 4\r\n\r\nfine"} {
		f := newServer(t, fine, answer)
		f.ask("POST", nil) // the dialer may take a while to forget its context
		kept := func() weak.Pointer[[64]byte] {
			secret := new([64]byte)
			type key struct{}
			res, err := f.begin(context.WithValue(t.Context(), key{}, secret), "POST", transport.InMemory("small"))
			if err != nil {
				t.Fatal(err)
			}
			io.ReadAll(res.Body)
			res.Body.Close()
			return weak.Make(secret)
		}()
		runtime.GC()
		if kept.Value() != nil {
			t.Errorf("%s: the request is still there", name)
		}
	}
}

// TestRetireClosesAllConnections, those in use once their request has ended.
func TestRetireClosesAllConnections(t *testing.T) {
	t.Parallel()
	f := newServer(t)
	res, err := f.begin(t.Context(), "POST", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport.Retire(f.transport)
	if text, err := io.ReadAll(res.Body); string(text) != "fine" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	handlertest.Await(t, f.closed, "the connection to be closed")
}

// TestCancelEndsRoundTrip before the first byte of the response, and while the body is
// sent.
func TestCancelEndsRoundTrip(t *testing.T) {
	t.Parallel()
	never, _ := io.Pipe()
	t.Cleanup(func() { never.Close() })
	for name, body := range map[string]io.Reader{
		"for an answer":        transport.InMemory("small"),
		"with a body to send":  endless{},
		"for more of the body": never,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newServer(t, silence)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			failed := make(chan error)
			go func() {
				_, err := f.begin(ctx, "POST", body)
				failed <- err
			}()
			handlertest.Await(t, f.begun, "the request")
			cancel()
			if err := handlertest.Await(t, failed, "RoundTrip to return"); err == nil {
				t.Error("no error")
			}
			handlertest.Await(t, f.closed, "the connection to be closed")
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestClosedIdleConnectionIsNotUsed: the next request neither fails nor is sent twice.
func TestClosedIdleConnectionIsNotUsed(t *testing.T) {
	t.Parallel()
	f := newServer(t)
	if _, err := f.ask("POST", nil); err != nil {
		t.Fatal(err)
	}
	f.conn(1).CloseWrite()
	if got, err := f.ask("POST", transport.InMemory("again")); got != "200 fine" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	f.wants("1 POST ", "2 POST again")
}

// TestUnsolicitedResponseIsNotUsed as the response to the next request.
func TestUnsolicitedResponseIsNotUsed(t *testing.T) {
	t.Parallel()
	f := newServer(t)
	if _, err := f.ask("POST", nil); err != nil {
		t.Fatal(err)
	}
	io.WriteString(f.conn(1), "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
	if got, err := f.ask("POST", transport.InMemory("again")); got != "200 fine" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	f.wants("1 POST ", "2 POST again")
}

// TestTLSConnectionsAreReused, unless decrypted bytes are left in them.
func TestTLSConnectionsAreReused(t *testing.T) {
	t.Parallel()
	extra := make(chan string, 1)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, out, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for err == nil {
			select {
			case more := <-extra:
				io.WriteString(out, fine+more)
			default:
				io.WriteString(out, fine)
			}
			out.Flush()
			_, err = http.ReadRequest(out.Reader)
		}
	}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	dialed := 0
	roundTripper := transport.NewWithDial(func(ctx context.Context) (net.Conn, error) {
		dialed++
		dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots}}
		return dialer.DialContext(ctx, "tcp", server.Listener.Addr().String())
	})
	t.Cleanup(roundTripper.(interface{ CloseIdleConnections() }).CloseIdleConnections)
	for i, c := range []struct {
		extra  string
		dialed int
	}{{"", 1}, {"", 1}, {"stolen", 1}, {"", 2}, {strings.Repeat("stolen", 2000), 2}, {"", 3}, {"", 3}} {
		if c.extra != "" {
			extra <- c.extra
		}
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := roundTripper.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(res.Body); string(text) != "fine" || err != nil {
			t.Errorf("request %d: %q, %v", i, text, err)
		}
		if dialed != c.dialed {
			t.Errorf("request %d: %d connections so far, want %d", i, dialed, c.dialed)
		}
	}
}

// TestUnknownCertificateIsRefused before a byte of the request is sent.
func TestUnknownCertificateIsRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = transport.New(u).RoundTrip(r)
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		t.Errorf("%v", err)
	}
}

// TestRequestIsRetriedOnlyIfSafe, and never if Ollama may have begun to work on it.
func TestRequestIsRetriedOnlyIfSafe(t *testing.T) {
	t.Parallel()
	const half = "HTTP/1.1 200 OK\r\nContent-"
	for name, c := range map[string]struct {
		method  string
		body    io.Reader
		answers []string // to the requests after the first
		want    string   // the response to the second
		asked   []string
	}{
		"POST":                        {"POST", transport.InMemory("work"), []string{closeConn}, "", []string{"1 POST work"}},
		"DELETE":                      {"DELETE", nil, []string{closeConn}, "", []string{"1 DELETE "}},
		"GET":                         {"GET", nil, []string{closeConn}, "200 fine", []string{"1 GET ", "2 GET "}},
		"HEAD":                        {"HEAD", nil, []string{closeConn}, "200 ", []string{"1 HEAD ", "2 HEAD "}},
		"GET once more":               {"GET", nil, []string{closeConn, closeConn}, "", []string{"1 GET ", "2 GET "}},
		"GET, an answer has begun":    {"GET", nil, []string{half}, "", []string{"1 GET "}},
		"GET with a body on its way":  {"GET", struct{ io.Reader }{strings.NewReader("some")}, []string{closeConn}, "", []string{"1 GET some"}},
		"GET, after an interim one":   {"GET", nil, []string{"HTTP/1.1 103 Early Hints\r\n\r\n"}, "", []string{"1 GET "}},
		"GET, what comes is no HTTP":  {"GET", nil, []string{"220 mail.example ESMTP\r\n"}, "", []string{"1 GET "}},
		"POST, what comes is no HTTP": {"POST", nil, []string{"220 mail.example ESMTP\r\n"}, "", []string{"1 POST "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newServer(t, append([]string{fine}, c.answers...)...)
			if _, err := f.ask("POST", nil); err != nil {
				t.Fatal(err)
			}
			<-f.arrived
			if c.answers[0] != closeConn { // the server breaks off its response
				go func() {
					<-f.arrived
					f.conn(1).CloseWrite()
				}()
			}
			got, err := f.ask(c.method, c.body)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q, %v", got, err)
			}
			f.wants(append([]string{"1 POST "}, c.asked...)...)
		})
	}
}

// TestFailureOnANewConnectionIsNotRetried, not even for GET: the connection was not
// closed for its age.
func TestFailureOnANewConnectionIsNotRetried(t *testing.T) {
	t.Parallel()
	f := newServer(t, closeConn)
	if got, err := f.ask("GET", nil); err == nil {
		t.Error(got)
	}
	f.wants("1 GET ")
}

// TestBrokenResponseEndsInAnError, however its end is framed.
func TestBrokenResponseEndsInAnError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer string
		reset  bool
	}{
		"before a chunk":          {endlessly, false},
		"in a chunk":              {endlessly + "8\r\nhalf", false},
		"before the last line":    {endlessly + "0\r\n", false},
		"within a length":         {"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nfine", false},
		"of no length, but reset": {"HTTP/1.1 200 OK\r\n\r\nfine", true},
		"a chunk's size is none":  {endlessly + "zz\r\nfine\r\n0\r\n\r\n", false},
		"a chunk's end is none":   {endlessly + "4\r\nfineXX0\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newServer(t, c.answer)
			res, err := f.begin(t.Context(), "POST", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			handlertest.Await(t, f.arrived, "the request")
			if c.reset {
				if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
					t.Fatal(err)
				}
				f.conn(1).SetLinger(0)
				f.conn(1).Close()
			} else {
				f.conn(1).CloseWrite()
			}
			if rest, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("it ends without an error after %q", rest)
			}
			if n, err := res.Body.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%d bytes more, %v", n, err)
			}
		})
	}
}

// TestResponseHeadsAreBounded in length and in number, and must be HTTP.
func TestResponseHeadsAreBounded(t *testing.T) {
	t.Parallel()
	interim := "HTTP/1.1 103 Early Hints\r\n\r\n"
	header := "X: " + strings.Repeat("x", 1000) + "\r\n"
	for name, c := range map[string]struct {
		answer string
		good   bool
	}{
		"five interim ones": {strings.Repeat(interim, 5) + fine, true},
		"six interim ones":  {strings.Repeat(interim, 6) + fine, false},
		"a long head":       {"HTTP/1.1 200 OK\r\n" + strings.Repeat(header, 200) + "Content-Length: 4\r\n\r\nfine", true},
		"a longer one":      {"HTTP/1.1 200 OK\r\n" + strings.Repeat(header, 300) + "Content-Length: 4\r\n\r\nfine", false},
		"one long line":     {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300<<10), false},
		"two lengths":       {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine!", false},
		"a negative length": {"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nfine", false},
		"an unknown coding": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n", false},
		"no status":         {"HTTP/1.1 OK\r\n\r\n", false},
		"no HTTP":           {"SSH-2.0-OpenSSH_9.2\r\n\r\n", false},
		"a broken line":     {"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 4\r\n\r\nfine", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newServer(t, c.answer)
			got, err := f.ask("POST", nil)
			if c.good != (err == nil) || c.good != (got == "200 fine") {
				t.Errorf("%.40q, %v", got, err)
			}
			if !c.good {
				handlertest.Await(t, f.closed, "the connection to be closed")
			}
		})
	}
}

// TestSwitchedProtocolIsNotUsed: nothing can be written to the connection.
func TestSwitchedProtocolIsNotUsed(t *testing.T) {
	t.Parallel()
	f := newServer(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nfine")
	res, err := f.begin(t.Context(), "POST", nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", res, err)
	}
	if _, ok := res.Body.(io.Writer); ok {
		t.Error("the body can be written to")
	}
	res.Body.Close()
	handlertest.Await(t, f.closed, "the connection to be closed")
}

// TestBodiesArriveWhole, whether they are sent with the head or after it.
func TestBodiesArriveWhole(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 100, 16 << 10, 1 << 20, 5 << 20} {
		text := strings.Repeat("b", size)
		for name, body := range map[string]io.Reader{
			"in memory": transport.InMemory(text), "announced": strings.NewReader(text), "in chunks": struct{ io.Reader }{strings.NewReader(text)},
		} {
			t.Run(fmt.Sprint(size, " bytes ", name), func(t *testing.T) {
				t.Parallel()
				f := newServer(t)
				for _, body := range []io.Reader{body, transport.InMemory("again")} {
					if got, err := f.ask("POST", body); got != "200 fine" || err != nil {
						t.Errorf("%s, %v", got, err)
					}
				}
				want := fmt.Sprint(size, " bytes")
				if size <= 40 {
					want = strings.Repeat("b", size)
				}
				handlertest.Await(t, f.arrived, "the body")
				if again := handlertest.Await(t, f.arrived, "another"); !strings.HasSuffix(again, " POST again") {
					t.Error(again)
				}
				if got := f.asked[0]; got != "1 POST "+want {
					t.Errorf("%q arrived, want %q", got, want)
				}
			})
		}
	}
}

// TestBodyOfWrongLengthFails, and so does one that cannot be read; Ollama sees that the
// request is incomplete.
func TestBodyOfWrongLengthFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the client is gone")
	for name, c := range map[string]struct {
		body   io.Reader
		length int64
		err    error
	}{
		"too short":           {strings.NewReader("four"), 5, nil},
		"too long":            {strings.NewReader("four"), 3, nil},
		"broken":              {io.MultiReader(strings.NewReader("four"), failing{broken}), 50, broken},
		"broken, in chunks":   {io.MultiReader(strings.NewReader("four"), failing{broken}), -1, broken},
		"broken at its start": {failing{broken}, -1, broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newServer(t)
			r, err := http.NewRequestWithContext(t.Context(), "POST", f.url.String(), struct{ io.Reader }{c.body})
			if err != nil {
				t.Fatal(err)
			}
			r.ContentLength = c.length
			res, err := f.transport.RoundTrip(r)
			if err == nil {
				t.Errorf("status %d", res.StatusCode)
			}
			if c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("%v", err)
			}
			handlertest.Await(t, f.closed, "the connection to be closed")
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestEarlyResponseIsRead although the body has not been sent. The connection serves no
// other request then.
func TestEarlyResponseIsRead(t *testing.T) {
	t.Parallel()
	l := handlertest.Listen(t)
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		http.ReadRequest(bufio.NewReader(c)) // its head
		io.WriteString(c, fine)
		io.Copy(io.Discard, c)
	}()
	u := &url.URL{Scheme: "http", Host: l.Addr().String()}
	body, client := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), "POST", u.String(), body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.New(u).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); string(text) != "fine" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	for err := error(nil); err == nil; { // until the transport stops reading
		_, err = io.WriteString(client, "the client goes on")
	}
}

// TestHeadersCannotChangeFraming: a header that could end its line is not sent.
func TestHeadersCannotChangeFraming(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.Header{
		"a line's end in a value": {"X": {"y\r\nContent-Length: 0\r\n\r\nGET /api/ps HTTP/1.1"}},
		"a bare line feed":        {"X": {"y\nZ: z"}},
		"a bare carriage return":  {"X": {"y\rZ: z"}},
		"a NUL":                   {"X": {"y\x00"}},
		"a line's end in a name":  {"X\r\nY": {"y"}},
		"a colon in a name":       {"X:": {"y"}},
		"a space in a name":       {"X ": {"y"}},
		"no name":                 {"": {"y"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newServer(t)
			r, err := http.NewRequestWithContext(t.Context(), "POST", f.url.String(), strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header = h
			if _, err := f.transport.RoundTrip(r); err == nil {
				t.Error("no error")
			}
			handlertest.Await(t, f.closed, "the connection to be closed")
			f.wants()
		})
	}
}

// TestFramingHeadersAreIgnored, because the transport writes its own.
func TestFramingHeadersAreIgnored(t *testing.T) {
	t.Parallel()
	f := newServer(t)
	r := f.request(t.Context(), "POST", transport.InMemory("body"))
	r.Header = http.Header{
		"Host": {"elsewhere"}, "Content-Length": {"2"}, "Transfer-Encoding": {"chunked"}, "Trailer": {"X"}, "Connection": {"close"},
	}
	for range 2 {
		res, err := f.transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		io.ReadAll(res.Body)
	}
	f.wants("1 POST body", "1 POST body")
}

// TestIPv6, if the machine has it.
func TestIPv6(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6: ", err)
	}
	f := newServerAt(t, l)
	for range 2 {
		if got, err := f.ask("POST", nil); got != "200 fine" || err != nil {
			t.Errorf("%s, %v", got, err)
		}
	}
	f.wants("1 POST ", "1 POST ")
}

// TestConcurrentRequestsGetTheirOwnResponses on many connections.
func TestConcurrentRequestsGetTheirOwnResponses(t *testing.T) {
	t.Parallel()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})}
	l := handlertest.Listen(t)
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	u := &url.URL{Scheme: "http", Host: l.Addr().String()}
	roundTripper := transport.New(u)
	var all sync.WaitGroup
	for client := range 20 {
		all.Go(func() {
			for n := range 50 {
				want := strings.Repeat(fmt.Sprint(client, " ", n, ";"), 1+n*n*n/10)
				r, err := http.NewRequestWithContext(t.Context(), "POST", u.String(), transport.InMemory(want))
				if err != nil {
					t.Error(err)
					return
				}
				res, err := roundTripper.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if string(got) != want || err != nil {
					t.Errorf("client %d, request %d: %d bytes, want %d, %v", client, n, len(got), len(want), err)
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkTransport(b *testing.B) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "fine") })}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go server.Serve(l)
	b.Cleanup(func() { server.Close() })
	u := &url.URL{Scheme: "http", Host: l.Addr().String()}
	for name, roundTripper := range map[string]http.RoundTripper{"ours": transport.New(u), "net-http": &http.Transport{DisableCompression: true}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := http.NewRequestWithContext(b.Context(), "POST", u.String(), transport.InMemory("body"))
				if err != nil {
					b.Fatal(err)
				}
				res, err := roundTripper.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
}
