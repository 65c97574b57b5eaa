package downstream

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Bounds is what bounds a server for which so many descriptors, connections and
// requests are known: see boundsFor.
func Bounds(descriptors, wantedConnections, wantedRequests int) (connections, requests, upstream int) {
	b := BoundsFor(descriptors, wantedConnections, wantedRequests)
	return b.Connections, b.Requests, b.Upstream
}

// GrowTable makes room for so many.
func GrowTable(most int, log *slog.Logger) { GrowDescriptorTable(most, log) }

// Watched says that a watchdog looks after a connection of such a listener.
func Watched(c net.Conn) { c.(*Conn).HoldDeadline() }

// ClientsOn is a listener that bounds clients as one of a server does.
func ClientsOn(l net.Listener, stalled time.Duration) net.Listener {
	return NewClients(l, ClientOptions{Connections: MaxConnections, Stalled: stalled, Log: slog.New(slog.DiscardHandler)})
}

// ServePlain serves a listener as a Server does in the clear, without a proxy
// behind it, but as if its watchdogs were awake. What is not plain goes to rest;
// all does where departures cannot be learned of.
func ServePlain(l net.Listener, handle http.HandlerFunc, learns bool) (rest net.Listener, stop func()) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := ClientOf(r.Context())
		c.HoldDeadline()
		defer c.ReleaseDeadline()
		handle(w, r)
	})
	s := &SimpleServer{Handler: h, Log: log.New(io.Discard, "", 0), HeadTime: HeaderTimeout, Rest: NewFallback(l.Addr())}
	if learns {
		s.Departures = NewHangups()
	}
	public := ClientsOn(l, time.Minute)
	go s.Serve(public)
	return s.Rest, func() {
		public.Close()
		s.Shutdown(context.Background())
		s.Rest.Close()
		s.Departures.Close()
	}
}

// HandOver makes a connection of a listener of clients one of which something has
// been read, and whose first head has until then.
func HandOver(c net.Conn, read string, until time.Time) net.Conn {
	return &rewound{c.(*Conn), []byte(read), until}
}
