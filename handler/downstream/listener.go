package downstream

import (
	"cmp"
	"container/list"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// Listener is a listener that knows the connections it has accepted, and keeps
// no more than max of them. One that carries no request with a valid key makes
// way for a new one: of those that never have carried any the oldest, unless
// they are so few that it may just have come, or else one that has long carried
// none. So whoever has no key cannot keep those out who have one. A few carry no
// request, and so whoever comes when the others all do is told so.
type Listener struct {
	net.Listener
	Max     int
	maxBusy int           // how many may carry requests
	stalled time.Duration // a client with a key may pause for so long, also at an answer's end
	secure  bool          // they speak TLS
	log     *slog.Logger

	busy atomic.Int64 // connections that carry requests with a valid key

	mu              sync.Mutex
	unauthenticated list.List // of *client: never a valid key
	authenticated   list.List // of *client
	told            time.Time // when the log last said that there are too many
	refused         time.Time // when it last said that too many carry requests

	held          int64 // what all of them hold without a valid key, see charge
	ending        int64 // what those held that have been closed for it, and have not ended
	freed         sync.Cond
	ranks         ranks
	toldOfHolders time.Time

	firstStreams, drainTime time.Duration // 0: the constants
	idleTimeout             time.Duration
}

// ClientOptions say how a listener treats clients.
type ClientOptions struct {
	Connections int           // at once
	Stalled     time.Duration // a client with a key may pause for so long
	Secure      bool          // they speak TLS
	IdleTimeout time.Duration // how long one over TLS waits for its next request; 0: IdleTimeout
	Log         *slog.Logger

	FirstStreams, DrainTime time.Duration // 0: the constants
}

// NewClients makes a listener one of clients.
func NewClients(l net.Listener, o ClientOptions) *Listener {
	c := &Listener{
		Listener: l, Max: o.Connections, maxBusy: o.Connections - min(o.Connections/8, maxSpare),
		stalled: o.Stalled, secure: o.Secure, log: o.Log, firstStreams: o.FirstStreams, drainTime: o.DrainTime, idleTimeout: cmp.Or(o.IdleTimeout, IdleTimeout),
	}
	c.freed.L = &c.mu
	return c
}

// Accept waits for a connection for which there is room, or can be made.
func (s *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return conn, nil
		}
		c := &Conn{TCPConn: tcp, io: socket.New(tcp), home: s}
		if s.add(c) {
			return c, nil
		}
		conn.Close()
	}
}

func (s *Listener) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unauthenticated.Len()+s.authenticated.Len() >= s.Max {
		if time.Since(s.told) > time.Minute {
			s.told = time.Now()
			s.log.Warn("as many connections as there may be: those not in use make way", "connections", s.Max, "without_key", s.unauthenticated.Len())
		}
		dispensable := s.evictable()
		if dispensable == nil {
			return false
		}
		s.evict(dispensable)
	}
	c.place = s.unauthenticated.PushBack(c)
	c.held.cost = simpleCost
	if s.secure {
		c.held.cost = secureCost
	}
	s.held += c.held.cost
	s.rank(c)
	s.makeRoom()
	return true
}

// evictable is the connection to be closed for another, or nil.
func (s *Listener) evictable() *Conn {
	if s.unauthenticated.Len() <= s.Max/8 {
		if c := s.idleKnown(); c != nil {
			return c
		}
	}
	for e := s.unauthenticated.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*Conn); c.busy.Load() == 0 { // it may just be showing its first key
			return c
		}
	}
	return s.idleKnown()
}

// idleKnown is a connection that has carried no request since it was last looked
// at; nil if all do now.
func (s *Listener) idleKnown() *Conn {
	if s.busy.Load() >= int64(s.authenticated.Len()) {
		return nil // as the look would find out
	}
	for range 2 * s.authenticated.Len() { // at the second look none has been used since the first
		c := s.authenticated.Front().Value.(*Conn)
		if used := c.used.Swap(false); !used && c.busy.Load() == 0 {
			return c
		}
		s.authenticated.MoveToBack(c.place)
	}
	return nil
}

// remove forgets a connection, with the lock held.
func (s *Listener) remove(c *Conn) {
	s.forgive(c)
	switch {
	case c.place == nil:
	case c.known.Load():
		s.authenticated.Remove(c.place)
	default:
		s.unauthenticated.Remove(c.place)
	}
	c.place = nil
}

// tellOfRefusals says now and then that there is no room. To which limit a refusal
// is due does not show in its own line.
func (s *Listener) tellOfRefusals() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.refused) > time.Minute {
		s.refused = time.Now()
		s.log.Warn("as many connections carry requests as may: further ones get 503", "connections", s.maxBusy)
	}
}
