package connect_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/connect"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/local"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// connected is a connector that serves on a real port.
type connected struct {
	address string // host:port
	log     *handlertest.SyncBuffer
	stop    context.CancelFunc
	served  <-chan error
}

// connectTo runs a connector until the test ends, and then checks that its log shows
// neither the key nor a child of it.
func connectTo(t *testing.T, remote, key string, grace time.Duration, transport http.RoundTripper) *connected {
	t.Helper()
	u, _, err := connect.ParseRemote(remote, false)
	if err != nil {
		t.Fatal(err)
	}
	c := &connected{log: &handlertest.SyncBuffer{}}
	h, err := connect.New(connect.Options{
		Remote:    u,
		Key:       key,
		Log:       slog.New(slog.NewJSONHandler(c.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := local.ListenLoopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = l.Addr().String()
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	served, over := make(chan error, 1), make(chan struct{})
	c.served = served
	go func() {
		served <- connect.Serve(ctx, h, l, grace)
		close(over)
	}()
	t.Cleanup(func() {
		c.stop()
		handlertest.Await(t, over, "Serve to return")
		if text, _ := c.log.Text(); strings.Contains(text, key[:20]) {
			t.Errorf("the log shows the key: %s", text)
		}
	})
	return c
}

// remoteOf wraps a remote's handler: asked for its version without a key, it answers as
// an Ollama does. So the connector takes it for no ollama-proxy, and sends the key as it
// is.
func remoteOf(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/api/version") && r.Header["Authorization"] == nil {
			io.WriteString(w, `{"version":"0.0.0"}`)
			return
		}
		h(w, r)
	})
}

// connectSend sends a request to a connector, as to a local Ollama. The Host is
// localhost:11434 unless the headers contain another.
func connectSend(w *handlertest.Wire, method, target, body string, headers ...string) {
	w.T.Helper()
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Host:") }) {
		headers = append(headers, "Host: localhost:11434")
	}
	if body != "" {
		headers = append(headers, "Content-Length: "+strconv.Itoa(len(body)))
	}
	lines := append([]string{method + " " + target + " HTTP/1.1"}, headers...)
	w.Writef("%s\r\n\r\n%s", strings.Join(lines, "\r\n"), body)
}

func (c *connected) ask(t *testing.T, method, target, body string, headers ...string) handlertest.Answer {
	t.Helper()
	w := handlertest.Dial(t, c.address)
	defer w.Close()
	connectSend(w, method, target, body, headers...)
	return w.Answer(method)
}

func (c *connected) logged(what string) int {
	text, _ := c.log.Text()
	return strings.Count(text, what)
}

// eachConnectRemote runs a test twice: against a proxy that speaks HTTP/1.1, and against
// one that speaks HTTP/2 over TLS. If stepped is set, the Ollama behind it receives from
// step before it sends a chunk.
func eachConnectRemote(t *testing.T, stepped bool, f func(t *testing.T, s *handlertest.Site, c *connected, step chan<- struct{})) {
	ollama := func() (o standin.Options, step chan struct{}) {
		if stepped {
			step = make(chan struct{})
		}
		return standin.Options{Step: step}, step
	}
	t.Run("HTTP/1.1", func(t *testing.T) {
		t.Parallel()
		o, step := ollama()
		s := handlertest.Start(t, handlertest.Config{Ollama: o})
		f(t, s, connectTo(t, "http://"+s.Public, s.Key, 0, nil), step)
	})
	t.Run("HTTP/2", func(t *testing.T) {
		t.Parallel()
		o, step := ollama()
		var proxy http.Handler
		s := handlertest.Start(t, handlertest.Config{Ollama: o, Proxy: func(o *handler.Options) { proxy = handler.New(*o) }})
		var older atomic.Bool
		front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				older.Store(true)
			}
			proxy.ServeHTTP(w, r)
		}))
		front.EnableHTTP2 = true
		front.StartTLS()
		t.Cleanup(front.Close)
		f(t, s, connectTo(t, front.URL, s.Key, 0, front.Client().Transport), step)
		if older.Load() {
			t.Error("not asked in HTTP/2")
		}
	})
}

// TestConnectPassesEachChunkAtOnce has an Ollama that sends a chunk only after the client
// has received the one before.
func TestConnectPassesEachChunkAtOnce(t *testing.T) {
	t.Parallel()
	for _, chat := range handlertest.Chats {
		t.Run(chat.Path, func(t *testing.T) {
			t.Parallel()
			eachConnectRemote(t, true, func(t *testing.T, _ *handlertest.Site, c *connected, step chan<- struct{}) {
				w := handlertest.Dial(t, c.address)
				connectSend(w, "POST", chat.Path, chat.Ask("tiny", true))
				res := w.ReadHead("POST")
				if res.StatusCode != 200 || !slices.Equal(res.TransferEncoding, []string{"chunked"}) {
					t.Errorf("%s, %v", res.Status, res.TransferEncoding)
				}
				text, chunks := handlertest.ReadStepwise(t, res.Body, step, chat.End)
				if rest, err := io.ReadAll(res.Body); len(rest) != 0 || err != nil {
					t.Errorf("after the end %q, %v", rest, err)
				}
				if chunks < 20 || !strings.Contains(text, chat.End) {
					t.Errorf("%d chunks, %d bytes", chunks, len(text))
				}
			})
		})
	}
}

// TestConnectCancels has clients that leave before the first byte, in the middle of a
// stream, and while they wait for an answer that is not a stream.
func TestConnectCancels(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, model string
		stream      bool
		begun       bool
	}{
		{"before the first byte", "hang", true, false},
		{"in the midst of a stream", "hang-mid", true, true},
		{"before a whole answer", "hang", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			eachConnectRemote(t, false, func(t *testing.T, s *handlertest.Site, c *connected, _ chan<- struct{}) {
				w := handlertest.Dial(t, c.address)
				connectSend(w, "POST", "/api/chat", handlertest.Chats[0].Ask(tt.model, tt.stream))
				seen := s.AwaitRequest(t, 1)
				if tt.begun {
					if _, err := w.ReadHead("POST").Body.Read(make([]byte, 1)); err != nil {
						t.Error(err)
					}
				}
				w.Close()
				handlertest.Await(t, seen.Gone, "Ollama to see the client leave")
				if n := c.logged("WARN"); n != 0 {
					t.Errorf("%d warnings because of a client that left", n)
				}
			})
		})
	}
}

func TestConnectUploads(t *testing.T) {
	t.Parallel()
	blob := make([]byte, 8<<20)
	rand.Read(blob)
	sum := sha256.Sum256(blob)
	for _, tt := range []struct {
		name string
		body io.Reader
	}{
		{"of known length", bytes.NewReader(blob)},
		{"of unknown length", io.MultiReader(bytes.NewReader(blob))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{})
			c := connectTo(t, "http://"+s.Public, s.Admin, 0, nil)
			target := fmt.Sprintf("http://%s/api/blobs/sha256:%x", c.address, sum)
			res, err := http.Post(target, "application/octet-stream", tt.body)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			seen := s.AwaitRequest(t, 1)
			if res.StatusCode != http.StatusCreated || seen.BodyLen != int64(len(blob)) || seen.BodySum != sum {
				t.Errorf("%s; %d bytes arrived, the same: %t", res.Status, seen.BodyLen, seen.BodySum == sum)
			}
			if res := c.ask(t, "HEAD", fmt.Sprintf("/api/blobs/sha256:%x", sum), ""); res.Status != 200 {
				t.Errorf("then HEAD: %v", res)
			}
		})
	}
}

// TestConnectDoesNotHoldUploads has a client that sends the rest of its body only after
// the remote has received the start.
func TestConnectDoesNotHoldUploads(t *testing.T) {
	t.Parallel()
	got := make(chan string, 2)
	remote := httptest.NewServer(remoteOf(func(w http.ResponseWriter, r *http.Request) {
		start := make([]byte, 5)
		io.ReadFull(r.Body, start)
		got <- string(start)
		rest, _ := io.ReadAll(r.Body)
		got <- string(rest)
	}))
	t.Cleanup(remote.Close)
	c := connectTo(t, remote.URL, connectKey(t), 0, nil)
	w := handlertest.Dial(t, c.address)
	connectSend(w, "POST", "/api/blobs/sha256:00", "", "Content-Length: 10")
	w.Writef("start")
	if text := handlertest.Await(t, got, "the start of the body"); text != "start" {
		t.Errorf("%q", text)
	}
	w.Writef("after")
	if text := handlertest.Await(t, got, "the rest of the body"); text != "after" {
		t.Errorf("%q", text)
	}
	if a := w.Answer("POST"); a.Status != 200 {
		t.Error(a)
	}
}

// TestConnectReadsNoBodyThatIsClosed: when an answer begins, the server closes the
// request's body, and the transport may read it once more. If that read failed, the
// transport would close the connection on which the answer comes.
func TestConnectReadsNoBodyThatIsClosed(t *testing.T) {
	t.Parallel()
	t.Run("after the body's end", func(t *testing.T) {
		t.Parallel()
		body := connectBody{"first", func(r *http.Request) {
			if _, err := r.Body.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after its end the body gives %v", err)
			}
		}}
		c := connectTo(t, "http://127.0.0.1:1", connectKey(t), 0, connectTransport(func(r *http.Request) io.Reader {
			io.Copy(io.Discard, r.Body)
			return body.of(r)
		}))
		if a := c.ask(t, "POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true)); a.Err != nil || a.Body != body.text {
			t.Errorf("%v: %q", a, a.Body)
		}
	})
	t.Run("of a body that is not needed", func(t *testing.T) {
		t.Parallel()
		read := make(chan error, 1)
		body := connectBody{"first", func(r *http.Request) {
			go func() {
				_, err := r.Body.Read(make([]byte, 1))
				read <- err
			}()
			for range 1000 {
				runtime.Gosched() // it may fail now, if it wants to
			}
			if len(read) != 0 {
				t.Error("it fails before the answer has been passed on")
			}
		}}
		c := connectTo(t, "http://127.0.0.1:1", connectKey(t), 0, connectTransport(body.of))
		if a := c.ask(t, "POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true)); a.Err != nil || a.Body != body.text {
			t.Errorf("%v: %q", a, a.Body)
		}
		if err := handlertest.Await(t, read, "the read to end"); err == nil || err == io.EOF {
			t.Errorf("the unread body gives %v", err)
		}
	})
}

// connectTransport answers each request with a stream, except the connector's own look.
type connectTransport func(*http.Request) io.Reader

func (f connectTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/api/version" {
		return nil, errors.New("it does not say what it is")
	}
	return &http.Response{StatusCode: 200, ContentLength: -1, Body: io.NopCloser(f(r))}, nil
}

// connectBody is an answer of one chunk. Once the head and the chunk have been sent, then
// is called, and after that the answer ends.
type connectBody struct {
	text string
	then func(*http.Request)
}

func (b connectBody) of(r *http.Request) io.Reader {
	return io.MultiReader(strings.NewReader(b.text), connectReader(func([]byte) (int, error) {
		b.then(r)
		return 0, io.EOF
	}))
}

type connectReader func([]byte) (int, error)

func (f connectReader) Read(p []byte) (int, error) { return f(p) }

// TestConnectExpectContinue has a client that waits for "100 Continue" before it uploads.
// The remote sends it, or refuses the key.
func TestConnectExpectContinue(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	blob := strings.Repeat("x", 2<<20)
	target := fmt.Sprintf("/api/blobs/sha256:%x", sha256.Sum256([]byte(blob)))
	length := "Content-Length: " + strconv.Itoa(len(blob))

	w := handlertest.Dial(t, connectTo(t, "http://"+s.Public, s.Admin, 0, nil).address)
	connectSend(w, "POST", target, "", "Expect: 100-continue", length)
	if line, err := w.R.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Errorf("%q, %v", line, err)
	}
	w.R.ReadString('\n') // the end of the 100
	w.Writef("%s", blob)
	if a := w.Answer("POST"); a.Status != http.StatusCreated {
		t.Error(a)
	}

	w = handlertest.Dial(t, connectTo(t, "http://"+s.Public, s.Key, 0, nil).address)
	connectSend(w, "POST", target, "", "Expect: 100-continue", length)
	if line, err := w.R.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 403 ") {
		t.Errorf("for a key that may not upload: %q, %v", line, err)
	}
}

// TestConnectWhatTheRemoteSees has a client that sends headers which must not reach the
// remote.
func TestConnectWhatTheRemoteSees(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	remote := httptest.NewServer(remoteOf(func(_ http.ResponseWriter, r *http.Request) { seen <- r }))
	t.Cleanup(remote.Close)
	key := connectKey(t)
	c := connectTo(t, remote.URL, key, 0, nil)

	c.ask(t, "POST", "/api/chat?a=b;c&d", "{}", "Content-Type: application/json", "X-Mine: yes",
		"Authorization: Bearer somebody-else", "X-Api-Key: somebody-else", "Cookie: a=b", "Origin: http://localhost:3000",
		"X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1",
		"Forwarded: for=10.0.0.1", "X-Real-Ip: 10.0.0.1", "Te: trailers", "Upgrade: websocket",
		"Connection: close, Upgrade, Authorization, X-Listed", "X-Listed: yes", "Proxy-Authorization: Basic eDp5")
	r := handlertest.Await(t, seen, "the request")
	want := http.Header{
		"Authorization": {"Bearer " + key}, "Content-Length": {"2"}, "Content-Type": {"application/json"}, "X-Mine": {"yes"},
	}
	if got, want := fmt.Sprint(r.Header), fmt.Sprint(want); got != want {
		t.Errorf("the remote sees\n%s, not\n%s", got, want)
	}
	if r.Host != remote.Listener.Addr().String() || r.URL.RawQuery != "a=b;c&d" {
		t.Errorf("Host %s, query %s", r.Host, r.URL.RawQuery)
	}
}

func TestConnectKeepsThePath(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1)
	remote := httptest.NewServer(remoteOf(func(_ http.ResponseWriter, r *http.Request) { seen <- r.RequestURI }))
	t.Cleanup(remote.Close)
	for _, prefix := range []string{"", "/", "/below/this", "/a%2Fb"} {
		c := connectTo(t, remote.URL+prefix, connectKey(t), 0, nil)
		for _, target := range []string{
			"/", "/api/tags", "/v1/models/a%2Fb", "/v1/models/a%2fb%3A1", "/api/%74ags", "//api/tags", "/v1/../api/tags", "/api/tags?x=%zz&y=1",
		} {
			c.ask(t, "GET", target, "")
			if got, want := handlertest.Await(t, seen, target), strings.TrimSuffix(prefix, "/")+target; got != want {
				t.Errorf("%q below %q: the remote sees %q", target, prefix, got)
			}
		}
	}
}

// TestConnectTellsTheCommandThatThereIsNoCloud: the ollama command asks for /api/status,
// which the proxy answers itself.
func TestConnectTellsTheCommandThatThereIsNoCloud(t *testing.T) {
	t.Parallel()
	eachConnectRemote(t, false, func(t *testing.T, s *handlertest.Site, c *connected, _ chan<- struct{}) {
		if a := c.ask(t, "GET", "/api/status", ""); a.Status != 200 || a.Body != `{"cloud":{"disabled":true,"source":"config"}}` {
			t.Errorf("%d %s", a.Status, a.Body)
		}
		s.ExpectNoRequest(t)
	})
}

// TestConnectServesItsOwnMachineOnly: foreign web pages are refused; programs, containers
// and pages of this machine are not.
func TestConnectServesItsOwnMachineOnly(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	c := connectTo(t, "http://"+s.Public, s.Key, 0, nil)

	for _, headers := range [][]string{
		{"Host: evil.example"},
		{"Host: evil.example:11434"},
		{"Host: localhost.evil.example"},
		{"Host: 127.0.0.1.evil.example"},
		{"Host: 0.0.0.0:11434"},
		{"Host: 192.168.1.2"},
		{"Host: [fe80::1]:11434"},
		{"Host: 2130706433"},
		{"Origin: https://evil.example"},
		{"Origin: http://evil.example:11434"},
		{"Origin: http://localhost.evil.example"},
		{"Origin: http://localhost@evil.example"},
		{"Origin: http://192.168.1.2"},
		{"Origin: null"},
		{"Origin: http://localhost/"},
		{"Origin: http://me@localhost"},
		{"Origin: localhost:3000"},
		{"Origin: app:localhost"},
		{"Origin: myapp://localhost"},
		{"Origin: ws://localhost:3000"},
		{"Origin: moz-extension://localhost"},
		{"Origin: http://host.docker.internal"},
		{"Host: evil.docker.internal"},
		{"Host: host.docker.internal.evil.example"},
		{"Host: host.docker.internal", "Origin: http://evil.example"},
		{"Sec-Fetch-Site: cross-site", "Origin: http://evil.example"},
		{"Sec-Fetch-Site: cross-site", "Origin: null"},
		{"Origin: chrome-extension://localhost"},
		{"Origin:"},
		{"Origin: http://localhost", "Origin: http://evil.example"},
		{"Sec-Fetch-Site: cross-site"},
		{"Sec-Fetch-Site: Cross-Site"},
	} {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			a := c.ask(t, method, "/api/tags", "", headers...)
			if a.Status != http.StatusForbidden || a.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s with %q: %v", method, headers, a)
				continue
			}
			handlertest.ErrorIn(t, "/api/tags", a.Body)
		}
	}
	// A host in the request line takes the place of the header.
	if a := c.ask(t, "GET", "http://evil.example/api/tags", ""); a.Status != http.StatusForbidden {
		t.Error(a)
	}
	s.ExpectNoRequest(t)

	for _, headers := range [][]string{
		{"Host: localhost"},
		{"Host: LOCALHOST:11434"},
		{"Host: 127.0.0.1:11434"},
		{"Host: 127.1.2.3"},
		{"Host: [::1]:11434"},
		{"Host: [::1]"},
		{"Host:"},
		{"Origin: http://localhost"},
		{"Origin: http://localhost:3000"},
		{"Origin: https://127.0.0.1:8443"},
		{"Origin: http://[::1]:3000"},
		{"Origin: http://0.0.0.0:11434"},
		{"Origin: app://obsidian.md"},
		{"Origin: file://"},
		{"Origin: file://localhost"},
		{"Origin: tauri://localhost"},
		{"Origin: vscode-webview://0f3k1"},
		{"Origin: vscode-file://vscode-app"},
		{"Origin: vscode-webview://0f3k1", "Sec-Fetch-Site: cross-site"},
		{"Origin: http://127.0.0.1:3000", "Sec-Fetch-Site: cross-site"},
		{"Host: host.docker.internal:11434"},
		{"Host: Gateway.Docker.Internal:11434"},
		{"Host: host.containers.internal"},
		{"Host: host.docker.internal.:11434"},
		{"Sec-Fetch-Site: none"},
		{"Sec-Fetch-Site: same-origin"},
		{"Sec-Fetch-Site: same-site", "Origin: http://localhost:3000"},
		{"Authorization: Bearer ollama"},
		{"Authorization: Bearer a", "Authorization: Bearer b", "X-Api-Key: c"},
	} {
		if a := c.ask(t, "GET", "/api/tags", "", headers...); a.Status != 200 || !strings.Contains(a.Body, "tiny") {
			t.Errorf("with %q: %v", headers, a)
		}
	}
	w := handlertest.Dial(t, c.address)
	w.Writef("GET /api/tags HTTP/1.0\r\n\r\n")
	if a := w.Answer("GET"); a.Status != 200 {
		t.Errorf("HTTP/1.0 without a Host: %v", a)
	}
}

func TestConnectRemoteDown(t *testing.T) {
	t.Parallel()
	silent := handlertest.Scripted(t, func(*net.TCPConn, *http.Request) {})
	garbled := handlertest.Scripted(t, func(c *net.TCPConn, r *http.Request) {
		fmt.Fprintf(c, "%s\r\n\r\n", r.Header.Get("Authorization"))
	})
	for _, tt := range []struct{ name, remote, message string }{
		{"nobody listens", handlertest.ClosedAddress, " cannot be reached"},
		{"no answer", silent, "no proper answer from "},
		{"no HTTP", garbled, "no proper answer from "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := connectTo(t, "http://"+tt.remote, connectKey(t), 0, nil)
			for i, chat := range handlertest.Chats {
				a := c.ask(t, "POST", chat.Path, chat.Ask("tiny", true))
				if a.Status != http.StatusBadGateway || a.Header.Get("Content-Type") != "application/json" {
					t.Errorf("%s: %v", chat.Path, a)
				}
				if message, _ := handlertest.ErrorIn(t, chat.Path, a.Body); !strings.Contains(message, tt.message) || !strings.Contains(message, tt.remote) {
					t.Errorf("%s: %q", chat.Path, message)
				}
				if n := c.logged("\n") - c.logged("cannot be asked"); n != i+1 || c.logged("cannot be asked") != 1 || c.logged(a.Header.Get("X-Request-Id")) != 1 {
					t.Errorf("%d lines in the log after %d requests", n, i+1)
				}
			}
		})
	}
}

func TestConnectAKeyThatTheRemoteRefuses(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	c := connectTo(t, "http://"+s.Public, connectKey(t), 0, nil)
	for _, chat := range handlertest.Chats {
		a := c.ask(t, "POST", chat.Path, chat.Ask("tiny", true))
		if message, _ := handlertest.ErrorIn(t, chat.Path, a.Body); a.Status != 401 || message != "missing or invalid API key" {
			t.Errorf("%s: %v, %q", chat.Path, a, message)
		}
	}
	if n := c.logged("the remote refuses the key"); n != 1 || c.logged("\n") != 1 {
		t.Errorf("logged %d times", n)
	}
	s.ExpectNoRequest(t)
}

// TestConnectAnswersThatBreakOff: no client may take such an answer for a whole one.
func TestConnectAnswersThatBreakOff(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"dies-between", "dies-mid-line", "short"} {
		t.Run(model, func(t *testing.T) {
			t.Parallel()
			eachConnectRemote(t, false, func(t *testing.T, s *handlertest.Site, c *connected, _ chan<- struct{}) {
				a := c.ask(t, "POST", "/v1/chat/completions", handlertest.Chats[2].Ask(model, true))
				if a.Status != 200 || a.Body == "" || a.Err == nil {
					t.Error(a)
				}
				w := handlertest.Dial(t, c.address)
				body := handlertest.Chats[0].Ask(model, true)
				w.Writef("POST /api/chat HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				if err := w.ReadToEnd(); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("to a client of HTTP/1.0: %v", err)
				}
			})
		})
	}
	t.Run("the proxy dies", func(t *testing.T) {
		t.Parallel()
		die := make(chan struct{})
		remote := handlertest.Scripted(t, func(c *net.TCPConn, r *http.Request) {
			if r.URL.Path == "/api/version" {
				return // it does not say what it is
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n")
			<-die
		})
		c := connectTo(t, "http://"+remote, connectKey(t), 0, nil)
		w := handlertest.Dial(t, c.address)
		connectSend(w, "POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true))
		res := w.ReadHead("POST")
		if _, err := io.ReadFull(res.Body, make([]byte, 3)); err != nil {
			t.Error(err)
		}
		close(die)
		if rest, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("ends properly with %q", rest)
		}
		if c.logged("WARN")-c.logged("cannot be asked") != 1 {
			t.Error("the log does not tell")
		}
	})
}

// TestConnectAClientThatBreaksOffItsUpload: the log does not blame the remote.
func TestConnectAClientThatBreaksOffItsUpload(t *testing.T) {
	t.Parallel()
	begun, gone := make(chan struct{}), make(chan struct{})
	remote := httptest.NewServer(remoteOf(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			close(gone)
		}
	}))
	t.Cleanup(remote.Close)
	c := connectTo(t, remote.URL, connectKey(t), 0, nil)
	w := handlertest.Dial(t, c.address)
	connectSend(w, "POST", "/api/blobs/sha256:00", "", "Content-Length: 1000000")
	w.Writef("start")
	handlertest.Await(t, begun, "the upload to begin")
	w.Close()
	handlertest.Await(t, gone, "the remote to see the client leave")
	c.stop()
	if err := handlertest.Await(t, c.served, "Serve to return"); err != nil {
		t.Error(err)
	}
	if n := c.logged("\n"); n != 1 { // of the look
		text, _ := c.log.Text()
		t.Errorf("%d lines in the log: %s", n, text)
	}
}

func TestConnectABodyThatCannotBeRead(t *testing.T) {
	t.Parallel()
	remote := httptest.NewServer(remoteOf(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	t.Cleanup(remote.Close)
	c := connectTo(t, remote.URL, connectKey(t), 0, nil)
	w := handlertest.Dial(t, c.address)
	connectSend(w, "POST", "/v1/messages", "", "Transfer-Encoding: chunked")
	w.Writef("no length\r\n")
	a := w.Answer("POST")
	if _, kind := handlertest.ErrorIn(t, "/v1/messages", a.Body); a.Status != 400 || kind != "invalid_request_error" {
		t.Errorf("%v, %s", a, kind)
	}
}

func TestConnectStops(t *testing.T) {
	t.Parallel()
	t.Run("what runs may finish", func(t *testing.T) {
		t.Parallel()
		step := make(chan struct{})
		s := handlertest.Start(t, handlertest.Config{Ollama: standin.Options{Step: step}})
		c := connectTo(t, "http://"+s.Public, s.Key, handlertest.Timeout, nil)
		w := handlertest.Dial(t, c.address)
		connectSend(w, "POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true))
		res := w.ReadHead("POST")
		c.stop()
		for {
			// When the drain has begun, the port is closed.
			late, err := net.Dial("tcp", c.address)
			if err != nil {
				break
			}
			late.Close()
		}
		close(step)
		if text, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(text), `"done":true`) {
			t.Errorf("%d bytes, %v", len(text), err)
		}
		if err := handlertest.Await(t, c.served, "Serve to return"); err != nil {
			t.Error(err)
		}
	})
	t.Run("and is cut when the grace is over", func(t *testing.T) {
		t.Parallel()
		s := handlertest.Start(t, handlertest.Config{})
		c := connectTo(t, "http://"+s.Public, s.Key, time.Millisecond, nil)
		body := handlertest.Chats[0].Ask("hang-mid", true)
		newer, older := handlertest.Dial(t, c.address), handlertest.Dial(t, c.address)
		connectSend(newer, "POST", "/api/chat", body)
		older.Writef("POST /api/chat HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		first, second := newer.ReadHead("POST"), older.ReadHead("POST")
		c.stop()
		if _, err := io.ReadAll(first.Body); err == nil {
			t.Error("the stream ends properly")
		}
		if _, err := io.ReadAll(second.Body); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("to a client of HTTP/1.0: %v", err)
		}
		for n := range 2 {
			handlertest.Await(t, s.AwaitRequest(t, n+1).Gone, "Ollama to see the client leave")
		}
		if err := handlertest.Await(t, c.served, "Serve to return"); err != nil {
			t.Error(err)
		}
	})
	t.Run("and when it has no port any more", func(t *testing.T) {
		t.Parallel()
		h, err := connect.New(connect.Options{
			Remote: &url.URL{Scheme: "https", Host: "proxy.example"}, Key: connectKey(t), Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		l := handlertest.Listen(t)
		l.Close()
		if err := connect.Serve(t.Context(), h, l, 0); err == nil {
			t.Error("no error")
		}
	})
}

// TestConnectToItself is refused: each request would come back for ever.
func TestConnectToItself(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "localhost"} {
		l, err := local.ListenLoopback("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		h, err := connect.New(connect.Options{
			Remote: &url.URL{Scheme: "http", Host: host + ":" + port}, Key: connectKey(t), Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := connect.Serve(t.Context(), h, l, 0); err == nil || !strings.Contains(err.Error(), "this very port") {
			t.Errorf("%s: %v", host, err)
		}
		if _, err := l.Accept(); err == nil {
			t.Error("the listener is open")
		}
	}
}

func TestConnectNeedsARemoteAndAKey(t *testing.T) {
	t.Parallel()
	key := connectKey(t)
	remote := &url.URL{Scheme: "https", Host: "proxy.example"}
	for name, o := range map[string]connect.Options{
		"no remote":   {Key: key},
		"no host":     {Key: key, Remote: &url.URL{Path: "/api"}},
		"no key":      {Remote: remote},
		"half a key":  {Remote: remote, Key: key[:len(key)-1]},
		"two headers": {Remote: remote, Key: key + "\r\nX-Mine: yes"},
	} {
		h, err := connect.New(o)
		if h != nil || err == nil {
			t.Errorf("%s: %v, %v", name, h, err)
		} else if strings.Contains(err.Error(), key[7:20]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

func TestConnectParseRemote(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text     string
		insecure bool
		want     string // "": an error
	}{
		{"https://proxy.example", false, "https://proxy.example"},
		{" https://proxy.example/ \n", false, "https://proxy.example"},
		{"HTTPS://proxy.example:8443", false, "https://proxy.example:8443"},
		{"https://proxy.example:/", false, "https://proxy.example"},
		{"https://proxy.example/below/this/", false, "https://proxy.example/below/this"},
		{"https://proxy.example/a%2Fb", false, "https://proxy.example/a%2Fb"},
		{"https://10.0.0.1", false, "https://10.0.0.1"},
		{"https://[2001:db8::1]:8443", false, "https://[2001:db8::1]:8443"},
		{"http://127.0.0.1:8080", false, "http://127.0.0.1:8080"},
		{"http://127.8.9.10", false, "http://127.8.9.10"},
		{"http://[::1]:8080", false, "http://[::1]:8080"},
		{"http://localhost:8080", false, "http://localhost:8080"},
		{"http://proxy.example", true, "http://proxy.example"},
		{"http://10.0.0.1:8080", true, "http://10.0.0.1:8080"},

		// The URLs that other programs take.
		{"https://proxy.example/v1", false, "https://proxy.example"},
		{"https://proxy.example/v1/", false, "https://proxy.example"},
		{"https://proxy.example:8443/below/v1", false, "https://proxy.example:8443/below"},
		{"https://proxy.example/v1/chat/completions", false, "https://proxy.example"},
		{"https://proxy.example/below/api/tags", false, "https://proxy.example/below"},
		// Paths that are not a route's.
		{"https://proxy.example/api", false, "https://proxy.example/api"},
		{"https://proxy.example/av1", false, "https://proxy.example/av1"},
		{"https://proxy.example/v1/below", false, "https://proxy.example/v1/below"},
		{"https://proxy.example/V1", false, "https://proxy.example/V1"},

		{"http://proxy.example", false, ""},
		{"http://10.0.0.1:8080", false, ""},
		{"http://0.0.0.0:8080", false, ""},
		{"http://localhost.example", false, ""},
		{"http://127.0.0.1.example", false, ""},
		{"http://[::ffff:10.0.0.1]", false, ""},
		{"", false, ""},
		{"/", false, ""},
		{"proxy.example", false, ""},
		{"proxy.example:8080", false, ""},
		{"//proxy.example", false, ""},
		{"https://", false, ""},
		{"https:///path", false, ""},
		{"https:proxy.example", false, ""},
		{"https://:8080", false, ""},
		{"https://proxy.example:0", false, ""},
		{"https://proxy.example:65536", false, ""},
		{"https://proxy.example:http", false, ""},
		{"https://proxy example", false, ""},
		{"ftp://proxy.example", false, ""},
		{"unix:///run/ollama", true, ""},
		{"https://hunter2@proxy.example", false, ""},
		{"https://me:hunter2@proxy.example", true, ""},
		{"https://me:hunter2@proxy.example:x", true, ""},
		{"https://@proxy.example", false, ""},
		{"https://proxy.example?key=hunter2", false, ""},
		{"https://proxy.example/?", false, ""},
		{"https://proxy.example/#hunter2", false, ""},
		{"https://proxy.example/#", false, ""},
		{"https://proxy.example/a/../b", false, ""},
		{"https://proxy.example/a//b", false, ""},
		{"https://proxy.example/%2e%2e", false, ""},
		{"https://proxy.example/%zz", false, ""},
	} {
		u, cut, err := connect.ParseRemote(tt.text, tt.insecure)
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("%q, %t: %v instead of an error", tt.text, tt.insecure, u)
		case tt.want == "" && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%q: the error shows it: %v", tt.text, err)
		case tt.want != "" && (err != nil || u.String() != tt.want || u.String()+cut != written(tt.text)):
			t.Errorf("%q, %t: %v without %q, %v", tt.text, tt.insecure, u, cut, err)
		}
	}
}

// written returns a URL as ParseRemote spells it, with the part that it cuts off.
func written(text string) string {
	text = strings.TrimRight(strings.TrimSpace(text), "/")
	return strings.TrimSuffix(strings.Replace(text, "HTTPS:", "https:", 1), ":")
}

func TestConnectListenLoopback(t *testing.T) {
	t.Parallel()
	mine := []string{"127.0.0.1:0", "127.1.2.3:0", "localhost:0"}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		mine = append(mine, "[::1]:0")
	}
	for _, address := range mine {
		l, err := local.ListenLoopback(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
			t.Errorf("%s became %s", address, l.Addr())
		}
		if _, err := local.ListenLoopback(l.Addr().String()); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%s twice: %v", address, err)
		}
		l.Close()
	}
	for _, address := range []string{
		"0.0.0.0:0", "[::]:0", ":0", "192.168.1.2:0", "10.0.0.1:0", "proxy.example:0", "localhost.example:0", "127.0.0.1.example:0", "[::ffff:10.0.0.1]:0",
	} {
		l, err := local.ListenLoopback(address)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "the key's rights") {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"", "127.0.0.1", "localhost", "11434", "127.0.0.1:http:0", "127.0.0.1:65536"} {
		if l, err := local.ListenLoopback(address); err == nil {
			l.Close()
			t.Errorf("%q: no error", address)
		}
	}
}

func TestConnectReadKey(t *testing.T) {
	key := connectKey(t)
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name, path, variable, stdin string
		exposed                     bool
		err                         string // a part of it; "": none
	}{
		{"file", write("plain", key, 0o600), "", "", false, ""},
		{"file with white space around", write("spaces", "\n "+key+" \r\n\n", 0o640), "", "", false, ""},
		{"file behind a byte order mark, with CRLF", write("mark", "\ufeff"+key+"\r\n", 0o600), "", "", false, ""},
		{"file in quotes", write("quotes", `"`+key+"\"\n", 0o600), "", "", false, ""},
		{"variable in quotes", "", "' " + key + " '", "", false, ""},
		{"file for all", write("exposed", key+"\n", 0o644), "", "", true, ""},
		{"variable", "", key, "", false, ""},
		{"variable with white space around", "", " " + key + "\n", "", false, ""},
		{"file, and the variable is empty", write("alone", key, 0o600), " ", "", false, ""},

		{"standard input", "-", "", key, false, ""},
		{"standard input with more", "-", "", " " + key + "\r\nmore\n", false, ""},
		{"standard input in quotes, behind a byte order mark", "-", "", "\ufeff'" + key + "'\r\n", false, ""},

		{"neither", "", "", "", false, "OLLAMA_PROXY_KEY"},
		{"both", write("both", key, 0o600), key, "", false, "which of the two"},
		{"nothing on standard input", "-", "", "", false, "standard input: that is no key"},
		{"half a key on standard input", "-", "", key[1:], false, "that is no key"},
		{"standard input, and the variable", "-", key, key, false, "which of the two"},
		{"no such file", filepath.Join(dir, "none"), "", "", false, "none"},
		{"directory", dir, "", "", false, dir},
		{"empty file", write("empty", " \n", 0o600), "", "", false, "empty"},
		{"two keys", write("two", key+"\n"+key+"\n", 0o600), "", "", false, "more than one line"},
		{"huge file", write("huge", key+strings.Repeat("\n", 1<<20), 0o600), "", "", false, "bytes"},
		{"half a quote", write("quote", `"`+key, 0o600), "", "", false, "that is no key"},
		{"UTF-16", write("wide", "\xff\xfe"+strings.Join(strings.Split(key, ""), "\x00")+"\x00", 0o600), "", "", false, "that is no key"},
		{"half a key", write("half", key[:len(key)-1], 0o600), "", "", false, "that is no key"},
		{"a header", write("header", "Bearer "+key, 0o600), "", "", false, "that is no key"},
		{"half a key in the variable", "", key[:len(key)-1], "", false, "that is no key"},
		{"two keys in the variable", "", key + "\n" + key, "", false, "that is no key"},
	} {
		t.Setenv(connect.KeyVariable, tt.variable)
		got, exposed, err := connect.ReadKey(tt.path, strings.NewReader(tt.stdin))
		switch {
		case tt.err == "" && (got != key || exposed != tt.exposed || err != nil):
			t.Errorf("%s: the key: %t, exposed: %t, %v", tt.name, got == key, exposed, err)
		case tt.err != "" && (got != "" || err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: a key: %t, %v", tt.name, got != "", err)
		case tt.err != "" && strings.Contains(err.Error(), key[7:20]):
			t.Errorf("%s: the error shows the key: %v", tt.name, err)
		}
	}
}

// connectKey returns a key of a secret that no server has.
func connectKey(t *testing.T) string {
	t.Helper()
	secret, _ := signer.NewSecret()
	key, err := signer.Mint(secret, false)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
