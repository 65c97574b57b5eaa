package handlertest

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/certs"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// Timeout is how long a test waits for an event that must happen: 30 seconds. Only a test
// that fails waits that long.
const Timeout = 30 * time.Second

// Config configures a [Site]. The zero Config is a proxy with default options and a
// stand-in Ollama.
type Config struct {
	Ollama     standin.Options
	Upstream   http.Handler           // the Ollama, in place of the stand-in
	Address    string                 // of an Ollama, in place of the stand-in and Upstream
	Proxy      func(*handler.Options) // changes the options
	Server     func(*server.Server)   // changes the server
	DrainDelay time.Duration
	Grace      time.Duration
	CORS       func(http.Handler) http.Handler

	MaxConnections int
	MaxBodyMemory  int64
	Certificates   certs.Certificates
	Log            func(io.Writer) slog.Handler
}

// Site is a proxy that serves on listeners on loopback, with an Ollama behind it.
type Site struct {
	t               *testing.T
	Ollama          *standin.Ollama
	Upstream        string // host:port
	Public, Private string // host:port
	Proxy           *handler.Proxy
	Spy             *Spy
	Log             *SyncBuffer
	secret          signer.Secret
	Key, Admin      string
	Stop            context.CancelFunc // begins the server's drain
	Served          <-chan error       // receives what Serve returns
	Listeners       [2]net.Listener    // public, private
}

// Start starts a Site until the test ends. Then the test fails if Serve does not return, or
// if the calls of the Recorder are not consistent.
func Start(t *testing.T, c Config) *Site {
	t.Helper()
	s := &Site{t: t, Ollama: standin.New(c.Ollama), Spy: NewSpy(), Log: &SyncBuffer{}, Upstream: c.Address}
	if s.Upstream == "" {
		behind := c.Upstream
		if behind == nil {
			behind = s.Ollama
		}
		server := httptest.NewServer(AnswerProbes(behind))
		t.Cleanup(server.Close)
		s.Upstream = server.Listener.Addr().String()
	}

	s.secret, _ = signer.NewSecret()
	s.Key, s.Admin = s.Mint(false), s.Mint(true)
	transport := transport.New(&url.URL{Scheme: "http", Host: s.Upstream})
	if idle, ok := transport.(interface{ CloseIdleConnections() }); ok {
		t.Cleanup(idle.CloseIdleConnections)
	}
	if c.Log == nil {
		c.Log = func(w io.Writer) slog.Handler {
			return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})
		}
	}
	o := handler.Options{
		Upstream:  &url.URL{Scheme: "http", Host: s.Upstream},
		Keys:      signer.NewVerifier(s.secret),
		Recorder:  s.Spy,
		Log:       slog.New(c.Log(s.Log)),
		Transport: transport,

		MaxBodyMemory: c.MaxBodyMemory,
	}
	if c.Proxy != nil {
		c.Proxy(&o)
	}

	public, private := Listen(t), Listen(t)
	s.Listeners = [2]net.Listener{public, private}
	s.Public, s.Private = public.Addr().String(), private.Addr().String()
	s.Proxy = handler.New(o)
	server := &server.Server{
		Proxy:   s.Proxy,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the metrics\n") }),
		Grace:   c.Grace,

		DrainDelay: c.DrainDelay,
		CORS:       c.CORS,

		Certificates:   c.Certificates,
		MaxConnections: c.MaxConnections,
	}
	s.Proxy = server.Proxy
	if c.Server != nil {
		c.Server(server)
	}
	var ctx context.Context
	ctx, s.Stop = context.WithCancel(context.Background())
	served, over := make(chan error, 1), make(chan struct{})
	s.Served = served
	go func() {
		served <- server.Serve(ctx, public, private)
		close(over)
	}()
	t.Cleanup(func() {
		s.Stop()
		Await(t, over, "Serve to return")
		s.Spy.audit(t)
	})
	return s
}

// AnswerProbes is a middleware that answers the proxy's probes of an Ollama, so that next
// gets only the requests of the test.
func AnswerProbes(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if IsProbe(r) {
			if r.URL.Path == "/api/ps" {
				io.WriteString(w, `{"models":[]}`)
				return
			}
			io.WriteString(w, `{"models":[{"name":"llama3.2:latest"},{"name":"nomic-embed-text"},{"name":"Mine","remote_model":"gpt-oss:120b","remote_host":"https://ollama.com:443"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// IsProbe reports whether a request is a probe by the proxy itself.
func IsProbe(r *http.Request) bool {
	return (r.URL.Path == "/api/tags" || r.URL.Path == "/api/ps") && r.UserAgent() == "ollama-proxy"
}

// ClosedAddress is an address on which nothing listens.
const ClosedAddress = "127.0.0.1:1"

// Listen listens on a free port of loopback until the test ends.
func Listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// Mint makes a key of the site with caveats, each written as name=value.
func (s *Site) Mint(admin bool, caveats ...string) string {
	s.t.Helper()
	var all []signer.Caveat
	for _, c := range caveats {
		name, value, _ := strings.Cut(c, "=")
		caveat, err := signer.NewCaveat(name, value)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, caveat)
	}
	key, err := signer.Mint(s.secret, admin, all...)
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

// AwaitRequest waits for the n-th request that reaches the stand-in.
func (s *Site) AwaitRequest(t *testing.T, n int) *standin.Seen {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	seen, err := s.Ollama.Await(ctx, n)
	if err != nil {
		t.Fatalf("request %d did not reach Ollama: %v", n, err)
	}
	return seen
}

// ExpectNoRequest fails the test if any request has reached the stand-in.
func (s *Site) ExpectNoRequest(t *testing.T) {
	t.Helper()
	for _, seen := range s.Ollama.Seen() {
		t.Errorf("%s %s reached Ollama", seen.Method, seen.URI)
	}
}

// Await waits until a value is sent on the channel, or the channel is closed.
func Await[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(Timeout):
		t.Errorf("waited in vain for %s", what)
	}
	return v
}

// Dial opens a connection to the public listener.
func (s *Site) Dial(t *testing.T) *Wire { t.Helper(); return Dial(t, s.Public) }

// Ask sends a request with the site's key on a connection of its own, and
// reads the answer.
func (s *Site) Ask(t *testing.T, method, target, body string, headers ...string) Answer {
	t.Helper()
	w := s.Dial(t)
	defer w.Close()
	w.Send(method, target, body, append([]string{Bearer(s.Key)}, headers...)...)
	return w.Answer(method)
}

// ListenAt listens at the address until the test ends.
func ListenAt(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
