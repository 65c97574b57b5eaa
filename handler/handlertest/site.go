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

// Patience is how long a test waits for what must happen. Only a failing test
// ever waits that long.
const Patience = 30 * time.Second

// Config says what a test wants different from the ordinary.
type Config struct {
	Ollama   standin.Options
	Upstream http.Handler // in place of the stand-in
	Address  string       // of an Ollama, in place of both
	Proxy    func(*handler.Options)
	Server   func(*server.Server)
	Delay    time.Duration // of the drain
	Grace    time.Duration
	Cors     func(http.Handler) http.Handler

	Connections  int   // at once
	Bodies       int64 // bytes that they may take in memory
	Certificates certs.Certificates
	Log          func(io.Writer) slog.Handler
}

// Site is a proxy that serves on real listeners, with an Ollama behind it.
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
	Stop            context.CancelFunc // begins the drain
	Served          <-chan error       // what Serve returned
	Listeners       [2]net.Listener    // public, private
}

// Start runs a site until the test ends, and then sees that it leaves nothing
// behind and that its recorder was told a consistent story.
func Start(t *testing.T, c Config) *Site {
	t.Helper()
	s := &Site{t: t, Ollama: standin.New(c.Ollama), Spy: NewSpy(), Log: &SyncBuffer{}, Upstream: c.Address}
	if s.Upstream == "" {
		behind := c.Upstream
		if behind == nil {
			behind = s.Ollama
		}
		server := httptest.NewServer(Unwatched(behind))
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

		MaxBodyMemory: c.Bodies,
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

		DrainDelay: c.Delay,
		CORS:       c.Cors,

		Certificates:   c.Certificates,
		MaxConnections: c.Connections,
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

// Unwatched answers WatchUpstreams itself, so that a test sees nothing but its
// own requests. Only the proxy's own ones carry this User-Agent.
func Unwatched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if IsWatch(r) {
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

func IsWatch(r *http.Request) bool {
	return (r.URL.Path == "/api/tags" || r.URL.Path == "/api/ps") && r.UserAgent() == "ollama-proxy"
}

// Nobody listens there, nor will any other test.
const Nobody = "127.0.0.1:1"

func Listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

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

// Arrival waits for the n-th request that reaches the stand-in.
func (s *Site) Arrival(t *testing.T, n int) *standin.Seen {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	seen, err := s.Ollama.Await(ctx, n)
	if err != nil {
		t.Fatalf("request %d did not reach Ollama: %v", n, err)
	}
	return seen
}

// NothingArrived fails the test if any request has reached the stand-in.
func (s *Site) NothingArrived(t *testing.T) {
	t.Helper()
	for _, seen := range s.Ollama.Seen() {
		t.Errorf("%s %s reached Ollama", seen.Method, seen.URI)
	}
}

// Await waits for something to be closed, or sent.
func Await[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(Patience):
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
