package handler

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
	b := boundsFor(descriptors, wantedConnections, wantedRequests)
	return b.connections, b.requests, b.upstream
}

// GrowTable makes room for so many.
func GrowTable(most int, log *slog.Logger) { growDescriptorTable(most, log) }

// Watched says that a watchdog looks after a connection of such a listener.
func Watched(c net.Conn) { c.(*client).watched() }

// ClientsOn is a listener that bounds clients as one of a server does.
func ClientsOn(l net.Listener, stalled time.Duration) net.Listener {
	return newClients(l, clientOptions{connections: maxConnections, stalled: stalled, log: slog.New(slog.DiscardHandler)})
}

// ServePlain serves a listener as a Server does in the clear, without a proxy
// behind it, but as if its watchdogs were awake. What is not plain goes to rest;
// all does where departures cannot be learned of.
func ServePlain(l net.Listener, handle http.HandlerFunc, learns bool) (rest net.Listener, stop func()) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := clientOf(r.Context())
		c.watched()
		defer c.unwatched()
		handle(w, r)
	})
	s := &plainServer{handler: h, log: log.New(io.Discard, "", 0), headTime: headerTimeout, rest: newHandover(l.Addr())}
	if learns {
		s.departures = newDepartures()
	}
	public := ClientsOn(l, time.Minute)
	go s.serve(public)
	return s.rest, func() {
		public.Close()
		s.shutdown(context.Background())
		s.rest.Close()
		s.departures.close()
	}
}

// HandOver makes a connection of a listener of clients one of which something has
// been read, and whose first head has until then.
func HandOver(c net.Conn, read string, until time.Time) net.Conn {
	return &handedOver{c.(*client), []byte(read), until}
}
