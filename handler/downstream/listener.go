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

// Listener is a net.Listener that tracks the connections it has accepted and keeps no
// more than Max of them. When Max is reached, a new connection evicts one that carries no
// request with a valid key: the oldest that has never carried a valid key or, if those
// are at most an eighth of Max and may have come just now, one that has carried no
// request for long. So clients without a key cannot keep clients with a key out.
//
// 64 of the Max connections (an eighth of them, if that is less) are kept free of
// requests with a valid key: further clients are refused with 503 on these, instead of
// being refused a connection.
type Listener struct {
	net.Listener
	Max          int           // connections at once; not to be changed
	maxBusy      int           // how many of them may carry requests
	stallTimeout time.Duration // how long a write to a client with a valid key may take
	tls          bool          // the clients speak TLS
	log          *slog.Logger

	busy atomic.Int64 // connections that carry requests with a valid key

	mu              sync.Mutex
	unauthenticated list.List // of *Conn that have never carried a valid key, the oldest first
	authenticated   list.List // of *Conn that have
	loggedFull      time.Time // when Max was last logged to be reached
	loggedBusy      time.Time // when maxBusy was

	held         int64     // bytes held by connections without a valid key, see charge
	evicted      int64     // bytes held by evicted connections that have not ended; not in held
	freed        sync.Cond // evicted has shrunk, or a connection has stopped draining
	classes      sizeClasses
	loggedMemory time.Time // when maxHeld was last logged to be reached

	firstStreams, drainTime time.Duration // 0: the constants of these names
	idleTimeout             time.Duration
}

// ListenerOptions configure a [Listener].
type ListenerOptions struct {
	MaxConns     int           // at once; at least 1
	StallTimeout time.Duration // how long a write to a client with a valid key may take
	TLS          bool          // the clients speak TLS
	IdleTimeout  time.Duration // how long one with TLS may wait for its next request; 0: IdleTimeout
	Log          *slog.Logger

	// FirstStreams and DrainTime replace the constants of these names, if not 0.
	FirstStreams, DrainTime time.Duration
}

// NewListener returns a Listener that accepts the connections of l.
func NewListener(l net.Listener, o ListenerOptions) *Listener {
	c := &Listener{
		Listener: l, Max: o.MaxConns, maxBusy: o.MaxConns - min(o.MaxConns/8, maxReserve),
		stallTimeout: o.StallTimeout, tls: o.TLS, log: o.Log, firstStreams: o.FirstStreams, drainTime: o.DrainTime,
		idleTimeout: cmp.Or(o.IdleTimeout, IdleTimeout),
	}
	c.freed.L = &c.mu
	return c
}

// Accept implements net.Listener. It closes connections that come while Max is reached
// and no other can be evicted, and returns the next one.
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
		c := &Conn{TCPConn: tcp, stream: socket.New(tcp), listener: s}
		if s.add(c) {
			return c, nil
		}
		conn.Close()
	}
}

// add adds a new connection, and evicts another one if Max is reached. It reports
// whether there was room.
func (s *Listener) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unauthenticated.Len()+s.authenticated.Len() >= s.Max {
		if time.Since(s.loggedFull) > time.Minute {
			s.loggedFull = time.Now()
			s.log.Warn("connection limit reached: closing connections not in use for new ones", "connections", s.Max, "without_key", s.unauthenticated.Len())
		}
		victim := s.evictable()
		if victim == nil {
			return false
		}
		s.evict(victim)
	}
	c.element = s.unauthenticated.PushBack(c)
	c.held.cost = simpleCost
	if s.tls {
		c.held.cost = tlsCost
	}
	s.held += c.held.cost
	s.classify(c)
	s.freeMemory()
	return true
}

// evictable returns the connection to close for a new one, or nil if all carry requests.
func (s *Listener) evictable() *Conn {
	if s.unauthenticated.Len() <= s.Max/8 {
		if c := s.idleAuthenticated(); c != nil {
			return c
		}
	}
	for e := s.unauthenticated.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*Conn); c.busy.Load() == 0 { // otherwise its first key has just been verified
			return c
		}
	}
	return s.idleAuthenticated()
}

// idleAuthenticated returns an authenticated connection that has carried no request
// since idleAuthenticated last looked at it (the CLOCK algorithm), or nil if all carry
// requests now.
func (s *Listener) idleAuthenticated() *Conn {
	if s.busy.Load() >= int64(s.authenticated.Len()) {
		return nil // saves the loop, which would find none
	}
	for range 2 * s.authenticated.Len() { // in the second round, those not busy are unused since the first
		c := s.authenticated.Front().Value.(*Conn)
		if used := c.used.Swap(false); !used && c.busy.Load() == 0 {
			return c
		}
		s.authenticated.MoveToBack(c.element)
	}
	return nil
}

// remove removes a connection from all lists and sums, with the lock held.
func (s *Listener) remove(c *Conn) {
	s.uncharge(c)
	switch {
	case c.element == nil:
	case c.authenticated.Load():
		s.authenticated.Remove(c.element)
	default:
		s.unauthenticated.Remove(c.element)
	}
	c.element = nil
}

// logBusy logs, at most once a minute, that maxBusy is reached. The access log does not
// say which limit a refusal is due to.
func (s *Listener) logBusy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.loggedBusy) > time.Minute {
		s.loggedBusy = time.Now()
		s.log.Warn("limit of connections that carry requests reached: further requests get 503", "connections", s.maxBusy)
	}
}
