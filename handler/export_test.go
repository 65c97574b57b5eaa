package handler

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

// InMemory is a body that leaves in one write with the head, as those of most
// requests do.
func InMemory(text string) io.ReadCloser { return newMemory(content{first: []byte(text)}) }

// Decoders is how many bodies are decoded at once.
func Decoders() int { return allDecoders.max }

// HoldDecoders takes all decoders, until release is called.
func HoldDecoders() (release func()) {
	held := make([]*zstd.Decoder, allDecoders.max)
	for i := range held {
		held[i], _ = allDecoders.borrow(context.Background(), uuid.UUID{})
	}
	return func() {
		for _, d := range held {
			allDecoders.giveBack(d)
		}
	}
}

// UseResolver makes a transport look names up with r.
func UseResolver(t http.RoundTripper, r *net.Resolver) { t.(*transport).dialer.Resolver = r }

// Retire does what is done to the transport of an Ollama that has left.
func Retire(t http.RoundTripper) { t.(*transport).retire() }

// NewSocket is a connection as the proxy reads and writes it.
func NewSocket(c net.Conn) net.Conn { return newSocket(c) }

// Watch looks at a server as its page does; remember marks each minute.
func Watch(s *Server) (look func() Status, remember func(context.Context)) {
	w := newWatcher(s.watched())
	return w.look, w.remember
}

// TopLines are the lines of a Status, as Top shows them in so many columns.
func TopLines(s Status, width int) (all []string) {
	for _, l := range topLines(s, width) {
		all = append(all, l.text)
	}
	return all
}

// WidthOf is how many columns of a terminal a text takes.
func WidthOf(text string) int { return widthOf(text) }

// Bounds is what bounds a server for which so many descriptors, connections and
// requests are known: see boundsFor.
func Bounds(descriptors, wantedConnections, wantedRequests int) (connections, requests, upstream int) {
	b := boundsFor(descriptors, wantedConnections, wantedRequests)
	return b.connections, b.requests, b.upstream
}

// BoundWith has the server bound itself as where so many descriptors are known
// (0: none), and gives how many requests it then lets in at once.
func BoundWith(s *Server, l net.Listener, descriptors int) (requests int) {
	s.bounded(l, descriptors)
	return s.Proxy.InFlightLimit()
}

// MostDescriptors is how many a Server expects with so many connections of clients.
func MostDescriptors(s *Server, connections int) int { return s.mostDescriptors(connections) }

// GrowTable makes room for so many.
func GrowTable(most int, log *slog.Logger) { growDescriptorTable(most, log) }

// BoundSlots has there be n connections to several Ollamas, WaitForSlots has
// requests wait an hour for one, and SlotsTaken is how many there are.
func BoundSlots(p *Proxy, n int) { p.LimitInFlight(0, n) }
func WaitForSlots(p *Proxy)      { p.pool.slots.patience = time.Hour }
func SlotsTaken(p *Proxy) int    { return len(p.pool.slots.taken) }

// Watched says that a watchdog looks after a connection of such a listener.
func Watched(c net.Conn) { c.(*client).watched() }

// ReadBody reads a body into memory, and tells how much room that takes.
func ReadBody(from io.Reader, limit, announced int64) (b []byte, took int64, err error) {
	r := room{max: maxBodies}
	c, _, err := r.read(from, limit, announced)
	took = r.used.Load()
	b, _ = io.ReadAll(newMemory(c))
	return b, took, err
}

// ReadPlain reads a request as a connection in the clear does; nil if it is for
// net/http.
func ReadPlain(b []byte) (r *http.Request, head int) {
	plain, head := readPlain(context.Background(), b, "")
	if plain == nil {
		return nil, 0
	}
	return &plain.Request, head
}

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

// IsPlainResponse reports whether a response is one, and how long its head is.
func IsPlainResponse(b []byte, to *http.Request) (r *http.Response, head int) {
	plain := new(plainResponse)
	if head = plain.read(b, to); head == 0 {
		return nil, 0
	}
	return &plain.Response, head
}

// Unchunk reads a chunked body that comes in the given pieces. Used is how much of
// them belongs to it.
func Unchunk(pieces ...[]byte) (body []byte, used int, err error) {
	var c chunking
	for _, piece := range pieces {
		b := bytes.Clone(piece)
		n, read, err := c.decode(b)
		body, used = append(body, b[:n]...), used+read
		if err != nil {
			return body, used, err
		}
	}
	return body, used, nil
}

// Restful is a reader that rests now and then.
func Restful(r io.Reader) io.Reader { return newRestful(r) }

// NewLifetime begins a lifetime. waiting says how many functions are to be called
// after its end.
func NewLifetime() (ctx context.Context, end func(error), waiting func() int) {
	l := new(lifetime)
	l.begin(context.Background())
	return l, l.end, func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.after)
	}
}

// SharedProbe lets tests wait for a probe as requests do.
type SharedProbe struct{ sharedProbe }

func (s *SharedProbe) Wait(ctx context.Context, limit time.Duration, ask func(context.Context) error) error {
	return s.wait(ctx, limit, ask)
}

// NewDecoders shares out decoders as is done among all keys. A decoder that is given
// back is any of those that were borrowed.
func NewDecoders(max int) (borrow func(context.Context, uuid.UUID) error, giveBack func()) {
	s := newDecoders(max)
	borrow = func(ctx context.Context, key uuid.UUID) error {
		_, err := s.borrow(ctx, key)
		return err
	}
	return borrow, func() { s.giveBack(nil) }
}
