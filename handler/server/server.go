package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/certs"
	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
	"github.com/ollama-proxy/ollama-proxy/handler/local"
	"github.com/ollama-proxy/ollama-proxy/handler/status"
)

// Server runs a Proxy: on its public listener, and beside it a private one for
// those who operate it.
type Server struct {
	Proxy *handler.Proxy

	// Certificates are for TLS on the public listener. Nil means in the clear.
	// Those of an authority are ordered by their Reload.
	Certificates certs.Certificates

	// CORS lets web pages in, see [AllowOrigins]. Nil means none.
	CORS func(http.Handler) http.Handler

	// Metrics is served as /metrics on the private listener.
	Metrics http.Handler

	// MetricsHosts are names by which the private listener may be asked for what
	// web pages of others must not see, see [ParseHosts]. It always may by an
	// address, localhost, a name without dots, and .local, .internal and .svc.
	MetricsHosts []string

	// Totals, InForce and Version are shown on the private listener, as a page
	// and as JSON. A nil Totals means that there is neither.
	Totals  func() status.Totals
	InForce status.InForce
	Version string

	// Reloads are loaded when the server starts, again at every ReloadInterval,
	// and at once when ReloadNow yields.
	Reloads        []Reload
	ReloadInterval time.Duration
	ReloadNow      <-chan os.Signal

	// MaxConnections is the most connections that clients may have at once. 0
	// means 10,000. One in eight, 64 at most, carries no request, so that
	// whoever comes when all others do gets a 503 and not a closed door. There
	// are fewer, and only so many requests in flight, where the process may not
	// open enough files for both: each request may need a connection to Ollama.
	MaxConnections int

	// DrainDelay is how long the drain waits for load balancers to notice that
	// /readyz fails, and to send their requests elsewhere.
	DrainDelay time.Duration

	// Grace is how long running requests may take to finish once the server
	// is to stop.
	Grace time.Duration

	// HeadTimeout is how long a client may take for a request's head. 0 means 10
	// seconds.
	HeadTimeout time.Duration

	// IdleTimeout is how long a client's connection may wait for its next request. 0
	// means 2 minutes.
	IdleTimeout time.Duration

	// FirstStreams is how long a client of HTTP/2 may have streams, none of which
	// has shown a valid key, until it counts as having all that it may. 0 means 100
	// milliseconds.
	FirstStreams time.Duration

	// DrainTime is how long it may take instead to read the answers, once 16 of its
	// requests have been refused and no more are read until then. 0 means 250
	// milliseconds.
	DrainTime time.Duration
}

// Serve serves until the context ends, or one of the listeners fails. Then it
// drains: /readyz fails, and connections end with their next answer. After
// DrainDelay new requests get 503, and those that run finish, up to the grace;
// what still runs then is cut. Serve closes both listeners and returns once
// nothing runs any more: nil after a drain, otherwise why a listener failed.
func (s *Server) Serve(ctx context.Context, public, private net.Listener) error {
	var h http.Handler = s.Proxy
	if s.CORS != nil {
		h = s.CORS(h)
	}
	front := s.server(h)
	front.ConnContext = downstream.WithConn
	if s.Certificates != nil {
		front.IdleTimeout = -1 // see downstream.ConnState
	}
	all := s.bounded(public, downstream.Descriptors())
	public = all
	downstream.GrowDescriptorTable(s.mostDescriptors(all.Max), s.Proxy.Log) // here and now: in another goroutine it could still grow when the load comes
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))        // also while it drains: a key may be revoked
	defer stop()
	back := s.server(s.operations(watching))
	failed := make(chan error, 3)
	plain := &downstream.SimpleServer{Handler: h, Log: front.ErrorLog, HeadTimeout: front.ReadHeaderTimeout, IdleTimeout: s.IdleTimeout, Hangups: downstream.NewHangups(), Fallback: downstream.NewFallback(public.Addr())}
	defer plain.Hangups.Close()
	defer plain.Close()
	go func() {
		if s.Certificates != nil {
			front.TLSConfig = s.Certificates.Config()
			front.TLSConfig.GetConfigForClient = downstream.OnClientHello
			failed <- front.ServeTLS(public, "", "")
			return
		}
		go func() { failed <- front.Serve(plain.Fallback) }()
		failed <- plain.Serve(public)
	}()
	go func() { failed <- back.Serve(private) }()
	defer back.Close()
	defer front.Close()
	defer all.HangUp() // front would wait for each that does not read
	defer public.Close()

	go s.Proxy.WatchUpstreams(watching)
	go s.reloadAll(watching)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.Proxy.Leave()
	select {
	case err := <-failed:
		return err
	case <-time.After(s.DrainDelay):
	}
	s.drain()

	// Nothing runs any more: this waits for last bytes on their way.
	ctx, cancel := context.WithTimeout(context.Background(), downstream.CutGrace)
	defer cancel()
	public.Close()
	plain.Shutdown(ctx)
	if err := front.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// bounded makes the public listener one that bounds clients, and sees to it that
// there is always a descriptor left for Ollama, of those that the process may have.
func (s *Server) bounded(public net.Listener, descriptors int) *downstream.Listener {
	b := downstream.BoundsFor(descriptors, cmp.Or(s.MaxConnections, downstream.MaxConnections), s.Proxy.MaxInFlight)
	s.Proxy.LimitInFlight(b.Requests, b.Upstream)
	return downstream.NewListener(public, downstream.ListenerOptions{
		MaxConns: b.Connections, StallTimeout: s.Proxy.StallTimeout, TLS: s.Certificates != nil, IdleTimeout: s.IdleTimeout, Log: s.Proxy.Log, FirstStreams: s.FirstStreams, DrainTime: s.DrainTime,
	})
}

// mostDescriptors returns how many descriptors a Server may come to have, whose
// clients have so many connections at most. A connection of HTTP/1.1 carries one
// request at a time, which needs one to Ollama. HTTP/2 may carry more, and if
// MaxInFlight does not say how many, the table may still have to grow for them.
func (s *Server) mostDescriptors(connections int) int {
	requests := cmp.Or(s.Proxy.MaxInFlight, connections)
	return min(connections, downstream.MaxTable) + min(requests, downstream.MaxTable) + s.Proxy.IdleConnections() + downstream.OtherDescriptors
}

// drain waits for what runs, and cuts what is left when the grace is over. The
// public listener stays open meanwhile: a 503 that says when to come back helps
// a client more than a refused connection.
func (s *Server) drain() {
	s.Proxy.Log.Info("shutting down: running requests may finish", "grace", s.Grace)
	empty := s.Proxy.Drain()
	grace := time.NewTimer(s.Grace)
	defer grace.Stop()
	select {
	case <-empty:
		return
	case <-grace.C:
	}
	s.Proxy.Log.Warn("the grace is over: cutting what still runs")
	s.Proxy.CutAll()
	grace.Reset(2 * downstream.CutGrace)
	select {
	case <-empty:
	case <-grace.C:
	}
}

func (s *Server) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           downstream.DropRequests(downstream.EndUnclear(h)),
		ConnState:         downstream.ConnState,
		ReadHeaderTimeout: cmp.Or(s.HeadTimeout, downstream.HeaderTimeout),
		IdleTimeout:       cmp.Or(s.IdleTimeout, downstream.IdleTimeout),
		MaxHeaderBytes:    downstream.MaxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize:     downstream.MaxFrame,
			MaxConcurrentStreams: downstream.MaxStreams,
			// A connection that takes nothing holds up all that write to it,
			// and none of them can be ended alone.
			WriteByteTimeout: s.Proxy.StallTimeout,
		},
		ErrorLog: log.New(&errorLog{log: s.Proxy.Log, accepted: rate.Sometimes{Interval: time.Minute}}, "", 0),
		// OPTIONS * is a request like any other: without a key it is refused.
		DisableGeneralOptionsHandler: true,
	}
}

// operations is what the private listener serves, until the context ends. What
// says anything about the proxy is not for web pages of others, see
// [ownNames.check]. /healthz and /readyz say one word, and answer whatever the Host
// is: load balancers ask by names of all kinds, and some by none. Liveness asks nobody; readiness ends with the drain's beginning. Neither asks
// Ollama: a replica that answers 502 in good order is no use to restart.
func (s *Server) operations(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	if s.Totals != nil {
		w := status.NewWatcher(s.Watched())
		w.Serve(mux)
		go w.RecordHistory(ctx)
	}
	mux.Handle("GET /metrics", local.AllowedHosts(s.MetricsHosts).Protect(s.Metrics.ServeHTTP))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.Proxy.Leaving() {
			http.Error(w, handler.ErrDraining.Error(), http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
	return mux
}

// Watched is what the page shows.
func (s *Server) Watched() status.WatcherOptions {
	o := status.WatcherOptions{Proxy: s.Proxy, Totals: s.Totals, InForce: s.InForce, Version: s.Version, Hosts: s.MetricsHosts}
	if s.Certificates != nil {
		o.CertificateEnds = s.Certificates.NotAfter
	}
	return o
}

// errorLog takes what net/http has to say. Clients that break the protocol are
// its daily bread; a panic is not, nor is it that there are no more files. That
// comes over and over.
type errorLog struct {
	log      *slog.Logger
	accepted rate.Sometimes
}

func (l *errorLog) Write(line []byte) (int, error) {
	say := func(level slog.Level) {
		l.log.Log(context.Background(), level, "http server", "message", strings.TrimSpace(string(line)))
	}
	switch {
	case bytes.Contains(line, []byte("panic serving")):
		say(slog.LevelError)
	case bytes.Contains(line, []byte("Accept error")):
		l.accepted.Do(func() { say(slog.LevelWarn) })
	default:
		say(slog.LevelDebug)
	}
	return len(line), nil
}
