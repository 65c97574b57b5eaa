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

// Server runs a Proxy on a public listener, and metrics, health checks and a status page
// on a private one.
type Server struct {
	Proxy *handler.Proxy // must be set

	// Certificates are for TLS on the public listener. Nil means no TLS. Certificates
	// from an ACME authority are requested by a Reload.
	Certificates certs.Certificates

	// CORS is middleware that lets web pages in, see [AllowOrigins]. Nil means none.
	CORS func(http.Handler) http.Handler

	// Metrics serves /metrics on the private listener. It must be set.
	Metrics http.Handler

	// MetricsHosts are names that the private listener accepts as Host, see
	// [local.ParseHosts]. It always accepts addresses, localhost, names without dots, and
	// names that end in .local, .internal and .svc: foreign web pages have none of these.
	MetricsHosts []string

	// Totals, InForce and Version are what the status page and its JSON show. If Totals
	// is nil, there is no such page.
	Totals  func() status.Totals
	InForce status.InForce
	Version string

	// Reloads run when the server starts, then every ReloadInterval, which must be more
	// than 0, and at once when ReloadNow yields.
	Reloads        []Reload
	ReloadInterval time.Duration
	ReloadNow      <-chan os.Signal

	// MaxConnections is the most connections that clients may have at once. 0 means
	// 10,000. One in eight of them, at most 64, never carries a request that is let
	// through, so that a client that comes when all others are busy gets a 503.
	//
	// If the process may not open enough files, there are fewer connections, and fewer
	// requests in flight: each request may need a connection to Ollama as well.
	MaxConnections int

	// DrainDelay is the time from the moment when /readyz begins to fail until new requests
	// are refused. Load balancers need it to send requests elsewhere. 0 means none.
	DrainDelay time.Duration

	// Grace is the time that running requests have to finish during a drain, before they
	// are cut. 0 means none.
	Grace time.Duration

	// HeadTimeout is the time that a client has to send a request's head. 0 means 10
	// seconds.
	HeadTimeout time.Duration

	// IdleTimeout is the time that a client's connection may wait for its next request. 0
	// means 2 minutes.
	IdleTimeout time.Duration

	// FirstStreams is the time after which an HTTP/2 connection that has open streams and
	// has shown no valid key is charged the memory of all streams that it may open. 0 means
	// 100 milliseconds.
	FirstStreams time.Duration

	// DrainTime is the time that such a client has to read its answers, once 16 of its
	// requests have been refused. No more are read until then. 0 means 250 milliseconds.
	DrainTime time.Duration
}

// Serve serves until the context ends or a listener fails. If the context ends, Serve
// drains: /readyz fails, and each connection closes with its next answer. After DrainDelay
// new requests get 503. Running ones may finish within Grace, and are cut then.
//
// Serve closes both listeners, and returns when nothing runs any more: nil after a drain,
// otherwise the error of the listener that failed.
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

// bounded wraps the public listener in one that bounds the clients' connections, such that
// of the descriptors that the process may have, each request in flight gets one for Ollama.
func (s *Server) bounded(public net.Listener, descriptors int) *downstream.Listener {
	b := downstream.BoundsFor(descriptors, cmp.Or(s.MaxConnections, downstream.MaxConnections), s.Proxy.MaxInFlight)
	s.Proxy.LimitInFlight(b.Requests, b.Upstream)
	return downstream.NewListener(public, downstream.ListenerOptions{
		MaxConns: b.Connections, StallTimeout: s.Proxy.StallTimeout, TLS: s.Certificates != nil, IdleTimeout: s.IdleTimeout, Log: s.Proxy.Log, FirstStreams: s.FirstStreams, DrainTime: s.DrainTime,
	})
}

// mostDescriptors returns how many descriptors the process may need if clients have at most
// so many connections. An HTTP/1.1 connection carries one request at a time, which needs one
// connection to Ollama. HTTP/2 may carry more, and if MaxInFlight does not bound them, the
// table may still have to grow.
func (s *Server) mostDescriptors(connections int) int {
	requests := cmp.Or(s.Proxy.MaxInFlight, connections)
	return min(connections, downstream.MaxTable) + min(requests, downstream.MaxTable) + s.Proxy.IdleConnections() + downstream.OtherDescriptors
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

// operations returns the handler of the private listener. Its background work ends with the
// context. Foreign web pages must not read what tells anything about the proxy, see
// [local.AllowedHosts]. /healthz and /readyz say one word only, so they answer for every Host:
// load balancers use all kinds of names.
//
// /healthz always succeeds; /readyz fails from the start of a drain on. Neither asks Ollama:
// to restart a replica that answers 502 as it should helps nobody.
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

// Watched returns what the status page shows.
func (s *Server) Watched() status.WatcherOptions {
	o := status.WatcherOptions{Proxy: s.Proxy, Totals: s.Totals, InForce: s.InForce, Version: s.Version, Hosts: s.MetricsHosts}
	if s.Certificates != nil {
		o.CertificateEnds = s.Certificates.NotAfter
	}
	return o
}

// errorLog is the log of net/http's servers. Clients that break the protocol are logged for
// debugging only, a panic as an error, and an Accept that fails, as when there are no more
// descriptors, as a warning once a minute: it fails over and over.
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
