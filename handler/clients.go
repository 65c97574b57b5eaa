package handler

import (
	"container/list"
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxConnections is how many connections clients may have at once where
	// nobody says otherwise.
	maxConnections = 10_000

	// maxSpare is how many connections at most carry no request, so that there
	// is one on which to hear that there is no room.
	maxSpare = 64
)

// clients is a listener that knows the connections it has accepted, and keeps
// no more than max of them. One that carries no request with a valid key makes
// way for a new one: of those that never have carried any the oldest, unless
// they are so few that it may just have come, or else one that has long carried
// none. So whoever has no key cannot keep those out who have one. A few carry no
// request, and so whoever comes when the others all do is told so.
type clients struct {
	net.Listener
	max     int
	useful  int           // how many may carry requests
	stalled time.Duration // a client with a key may pause for so long, also at an answer's end
	secure  bool          // they speak TLS
	log     *slog.Logger

	busy atomic.Int64 // connections that carry requests with a valid key

	mu        sync.Mutex
	strangers list.List // of *client: never a valid key
	known     list.List // of *client
	told      time.Time // when the log last said that there are too many
	refused   time.Time // when it last said that too many carry requests

	held          int64 // what all of them hold without a valid key, see charge
	ending        int64 // what those held that have been closed for it, and have not ended
	freed         sync.Cond
	ranks         ranks
	toldOfHolders time.Time

	firstStreams time.Duration // 0: the constant
}

// client is a connection that somebody has opened.
type client struct {
	*net.TCPConn
	io    net.Conn // the same, read and written as fast as can be
	home  *clients
	known atomic.Bool
	busy  atomic.Int32 // requests with a valid key that it carries
	awake atomic.Int32 // watchdogs of theirs
	used  atomic.Bool  // it has carried one since somebody looked
	head  atomic.Int64 // bytes of a head that is not complete, where it is known
	last  atomic.Bool  // no more heads are read from it
	late  atomic.Bool  // Write has set a deadline, and nobody else has since
	cut   atomic.Bool  // the deadline for writing is the last

	writing atomic.Int32 // writes under way, while it is not known
	simple  bool         // plainServer serves it
	held    held
	ending  int64 // what it held when it was closed for that

	id        uint64     // among departures
	departure *departure // nil if net/http learns of it

	place *list.Element // in one of home's lists, whose lock guards it; nil: in none
}

// clientOptions say how a listener treats clients.
type clientOptions struct {
	connections int           // at once
	stalled     time.Duration // a client with a key may pause for so long
	secure      bool          // they speak TLS
	log         *slog.Logger

	firstStreams time.Duration // 0: the constant
}

// newClients makes a listener one of clients.
func newClients(l net.Listener, o clientOptions) *clients {
	c := &clients{
		Listener: l, max: o.connections, useful: o.connections - min(o.connections/8, maxSpare),
		stalled: o.stalled, secure: o.secure, log: o.log, firstStreams: o.firstStreams,
	}
	c.freed.L = &c.mu
	return c
}

// bounds says how many there may be at once. Of requests and of connections to
// Ollama 0 means that there is no bound.
type bounds struct{ connections, requests, upstream int }

// boundsFor returns the bounds of a process that may open so many descriptors
// (0: not known) and was told to let in so many connections and, unless that is
// 0, requests. Where the number of descriptors is not known, what was told is
// all that bounds.
func boundsFor(descriptors, connections, requests int) bounds {
	if descriptors == 0 {
		return bounds{connections, requests, 0}
	}
	connections, upstream := share(descriptors, connections)
	if requests == 0 || requests > upstream {
		requests = upstream
	}
	return bounds{connections, requests, upstream}
}

// share shares out the descriptors that the process may have open between clients'
// connections, of which there need be no more than wanted, and requests'
// connections to Ollama. Some are left for other things.
func share(descriptors, wanted int) (connections, requests int) {
	spare := max(2, descriptors-min(descriptors/4, 100))
	connections = min(wanted, spare/2)
	return connections, spare - connections
}

// Accept waits for a connection for which there is room, or can be made.
func (s *clients) Accept() (net.Conn, error) {
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return conn, nil
		}
		c := &client{TCPConn: tcp, io: newSocket(tcp), home: s}
		if s.add(c) {
			return c, nil
		}
		conn.Close()
	}
}

func (s *clients) add(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.strangers.Len()+s.known.Len() >= s.max {
		if time.Since(s.told) > time.Minute {
			s.told = time.Now()
			s.log.Warn("as many connections as there may be: those not in use make way", "connections", s.max, "without_key", s.strangers.Len())
		}
		dispensable := s.dispensable()
		if dispensable == nil {
			return false
		}
		s.evict(dispensable)
	}
	c.place = s.strangers.PushBack(c)
	c.held.cost = simpleCost
	if s.secure {
		c.held.cost = secureCost
	}
	s.held += c.held.cost
	s.rank(c)
	s.makeRoom()
	return true
}

// dispensable is the connection to be closed for another, or nil.
func (s *clients) dispensable() *client {
	if s.strangers.Len() <= s.max/8 {
		if c := s.idleKnown(); c != nil {
			return c
		}
	}
	for e := s.strangers.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*client); c.busy.Load() == 0 { // it may just be showing its first key
			return c
		}
	}
	return s.idleKnown()
}

// idleKnown is a connection that has carried no request since it was last looked
// at; nil if all do now.
func (s *clients) idleKnown() *client {
	if s.busy.Load() >= int64(s.known.Len()) {
		return nil // as the look would find out
	}
	for range 2 * s.known.Len() { // at the second look none has been used since the first
		c := s.known.Front().Value.(*client)
		if used := c.used.Swap(false); !used && c.busy.Load() == 0 {
			return c
		}
		s.known.MoveToBack(c.place)
	}
	return nil
}

// remove forgets a connection, with the lock held.
func (s *clients) remove(c *client) {
	s.forgive(c)
	switch {
	case c.place == nil:
	case c.known.Load():
		s.known.Remove(c.place)
	default:
		s.strangers.Remove(c.place)
	}
	c.place = nil
}

// hangUp closes all connections at once, whatever is still to be said on them.
func (s *clients) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range []*list.List{&s.strangers, &s.known} {
		for e := l.Front(); e != nil; e = e.Next() {
			e.Value.(*client).TCPConn.Close()
		}
	}
}

// Close closes the connection.
func (c *client) Close() error {
	c.home.mu.Lock()
	c.home.remove(c)
	c.home.ended(c)
	c.home.mu.Unlock()
	return c.TCPConn.Close()
}

// Read counts what may be part of a head.
func (c *client) Read(b []byte) (int, error) {
	n, err := c.io.Read(b)
	c.count(n)
	return n, err
}

// readFresh reads what comes next, see freshReader. None of it counts as part of a
// head: either the head is all there, or it is handed over.
func (c *client) readFresh() (s *space, in []byte, err error) {
	s, n, err := c.io.(freshReader).readFresh(headSpaces)
	if err != nil {
		return nil, nil, err
	}
	return s, s.bytes[:n], nil
}

// Write bounds how long those may take who do not read, where no watchdog is
// awake to do so.
func (c *client) Write(b []byte) (int, error) {
	c.boundWrite()
	if !c.known.Load() {
		defer c.beginWrite()()
	}
	return c.io.Write(b)
}

// writeAll is Write for several pieces, which it takes no copy of.
func (c *client) writeAll(pieces net.Buffers) (int64, error) {
	c.boundWrite()
	return pieces.WriteTo(c.TCPConn)
}

func (c *client) boundWrite() {
	if c.cut.Load() {
		return
	}
	if c.awake.Load() == 0 {
		c.SetWriteDeadline(time.Now().Add(patience(c.known.Load(), c.home.stalled)))
		c.late.Store(true)
	} else if c.late.Load() {
		c.SetWriteDeadline(time.Time{})
	}
}

// patience is how long to wait for a client that does not read.
func patience(known bool, stalled time.Duration) time.Duration {
	if known {
		return stalled
	}
	return min(stalled, strangersTimeout)
}

// SetWriteDeadline implements net.Conn. Where the deadline is the last, only the end
// of the request changes it: TLS would like some seconds more to say goodbye.
func (c *client) SetWriteDeadline(t time.Time) error {
	if c.cut.Load() && !t.IsZero() {
		return nil
	}
	c.cut.Store(false)
	c.late.Store(false)
	return c.TCPConn.SetWriteDeadline(t)
}

// enter says that the connection carries a request with a valid key, until
// leave. It reports whether there is room for one.
func (c *client) enter() (room bool) {
	if c == nil {
		return true
	}
	if c.busy.Add(1) == 1 {
		c.home.busy.Add(1)
	}
	if room = c.home.busy.Load() <= int64(c.home.useful); !room {
		c.home.tellOfRefusals()
	}
	c.used.Store(true)
	if c.known.Load() {
		c.completeHead()
		return room
	}
	c.home.mu.Lock()
	defer c.home.mu.Unlock()
	c.home.forgive(c)
	if c.place != nil && !c.known.Load() {
		c.home.strangers.Remove(c.place)
		c.place = c.home.known.PushBack(c)
	}
	c.known.Store(true)
	return room
}

// tellOfRefusals says now and then that there is no room. To which limit a refusal
// is due does not show in its own line.
func (s *clients) tellOfRefusals() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.refused) > time.Minute {
		s.refused = time.Now()
		s.log.Warn("as many connections carry requests as may: further ones get 503", "connections", s.useful)
	}
}

func (c *client) leave() {
	if c != nil && c.busy.Add(-1) == 0 {
		c.home.busy.Add(-1)
	}
}

// watched says that a watchdog looks after the connection, until unwatched.
func (c *client) watched() {
	if c != nil {
		c.awake.Add(1)
	}
}

func (c *client) unwatched() {
	if c != nil {
		c.awake.Add(-1)
	}
}

// withConn keeps the connection of a request where the request's handler finds
// it.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if encrypted, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = encrypted.NetConn()
	}
	return withOwner(ctx, c)
}

// clientOf is the connection of a request; nil if its listener is not one of
// clients.
func clientOf(ctx context.Context) *client {
	c, _ := ownerOf(ctx).(*client)
	return c
}

// resetOnClose makes the connection end with a reset. To a client of HTTP/1.0
// an orderly close is the proper end of an answer.
func resetOnClose(ctx context.Context) {
	if c, ok := ownerOf(ctx).(interface{ SetLinger(int) error }); ok {
		c.SetLinger(0)
	}
}
