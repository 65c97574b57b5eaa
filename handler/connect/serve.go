package connect

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
	"github.com/ollama-proxy/ollama-proxy/handler/local"
)

// Serve serves h, which [New] returned, on l until the context ends, and looks at the
// remote once, beside that: what it finds is logged. When the context ends it accepts no
// more requests, waits up to grace for those that run, and cuts the rest. It closes l in
// any case. After a drain it returns nil, otherwise the listener's error. If the remote
// of h is l itself, Serve returns an error at once: each request would come back here
// for ever.
func Serve(ctx context.Context, h http.Handler, l net.Listener, grace time.Duration) error {
	if c, ok := h.(*connector); ok {
		if local.LeadsTo(c.Remote, l.Addr()) {
			l.Close()
			return fmt.Errorf("%s is this very port: give the URL of an ollama-proxy", c.Remote.Host)
		}
		go c.keys.current(ctx)
		// Programs on this machine may open any number of connections: make room for
		// as many as an ollama-proxy takes.
		downstream.GrowDescriptorTable(2*downstream.MaxConnections+downstream.OtherDescriptors, c.Log)
	}
	// A context made of ctx would cut every request when the drain begins.
	running, cut := context.WithCancel(context.Background())
	defer cut()
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: downstream.HeaderTimeout,
		IdleTimeout:       downstream.IdleTimeout,
		MaxHeaderBytes:    downstream.MaxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return running },
		ConnContext:       downstream.WithConn,
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	defer s.Close()

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	if shutdown(s, grace) == nil {
		return nil
	}
	cut()
	shutdown(s, downstream.CutGrace) // the deferred Close ends what is left then
	return nil
}

func shutdown(s *http.Server, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return s.Shutdown(ctx)
}
