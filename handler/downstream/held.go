package downstream

import (
	"cmp"
	"container/list"
	"crypto/tls"
	"math/bits"
	"net"
	"net/http"
	"time"
)

// The memory of unauthenticated clients is estimated, connection by connection,
// and bounded for all of them together. The constants are upper bounds of what
// Go was measured to keep.
const (
	// maxHeld bounds the estimate: 56 MiB. The garbage collector lets the heap
	// grow to twice of what is in use, the ballast of main included, so that the
	// process then takes less than 256 MiB more than when it idles.
	maxHeld = 56 << 20

	// simpleCost is what a connection takes that waits for a request on the fast
	// path: 4 KiB, the stack of its goroutine for the most part.
	simpleCost = 4 << 10

	// fallbackCost is what it takes once net/http serves it: 24 KiB.
	fallbackCost = 24 << 10

	// secureCost is what it takes over TLS, whatever is spoken there: 32 KiB. The
	// handshake is counted like a head until the client's greeting is complete, and
	// then only as far as it is longer than smallHead.
	secureCost = 32 << 10

	// writeCost is what a refusal on the fast path takes until the client has
	// read it: 24 KiB, the request and the buffers.
	writeCost = 24 << 10

	// MaxStreams is how many streams a client of HTTP/2 may have at once: 100,
	// the fewest that RFC 9113 section 6.5.2 advises.
	MaxStreams = 100

	// streamCost is what one takes at most, headers apart: 20 KiB, stacks and
	// buffers.
	streamCost = 20 << 10

	// maxRequests is how many requests of a client of HTTP/2 are read, without a
	// valid key among them, before all of them have been answered: 16. When a request
	// has been answered for good does not show, but when none is left does.
	maxRequests = 16

	// firstStreams is how long a client of HTTP/2 may have streams before it is
	// taken to have all that it may: not all of them come to a handler of ours. A
	// valid key comes to its handler at once; if all streams were counted before that,
	// a few dozen clients that come back together, after a restart, would crowd each
	// other out.
	firstStreams = 100 * time.Millisecond

	// drainTime is how long they may take instead, once maxRequests have been read
	// and nothing more is: 250 ms.
	drainTime = 250 * time.Millisecond

	// headFactor is how many times as much memory as bytes a head takes: 15 for
	// short headers in HTTP/1.1, up to 50 for indexed fields in HTTP/2, which
	// secureCost and streamCost account for in part.
	headFactor = 32

	// smallHead is how much of a head is not counted where the connection has
	// carried a valid key before: 4 KiB, more than most heads have.
	smallHead = 4 << 10

	// aheadBytes is what net/http may have read of the requests that follow: 4
	// KiB in the clear, and over TLS a record of 16 KiB.
	aheadBytes       = 4 << 10
	secureAheadBytes = 16 << 10
)

// held is what a connection holds in memory without a valid key. Its fields are
// guarded by the lock of clients.
type held struct {
	cost   int64 // of the connection itself
	read   int64 // bytes of heads that are not complete, or not yet answered
	writes int64 // cost of the answers on their way

	streams  int64 // over HTTP/2, how many it has at most
	requests int64 // how many have been refused since it had none

	class int           // of its sum, see classOf
	since time.Time     // when it has come into the class
	rank  *list.Element // in the class; nil: it holds no more than its share

	drains bool        // nothing more is read until no stream is left
	late   *time.Timer // then it is taken to have all streams that it may
}

func (h *held) sum() int64 { return h.cost + h.read*headFactor + h.streams*streamCost + h.writes }

// ranks are the connections that hold more than their share, by how much: each
// class is of twice the size of the one before, and has those first that have been
// in it for longest.
type ranks [24]list.List

// share is what each connection may hold whatever the others hold.
func (s *Listener) share() int64 { return maxHeld / int64(s.Max) }

// classOf is 0 for what is no more than the share.
func (s *Listener) classOf(sum int64) int {
	return min(bits.Len64(uint64(sum/max(1, s.share()+1))), len(s.ranks)-1)
}

// charge changes what a connection holds, and makes room if that is too much. Nothing
// changes where the connection is closed, or has shown its key since the caller
// looked.
func (s *Listener) charge(c *Conn, known bool, change func(*held)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.place == nil || c.known.Load() != known {
		return
	}
	before := c.held.sum()
	change(&c.held)
	s.held += c.held.sum() - before
	s.rank(c)
	s.makeRoom()
}

// makeRoom closes connections while all together hold too much, with the lock held.
// Those that hold the most for the longest make way: the measure is the time, times
// the square of what they hold. So neither many that hold little, nor few that come
// anew all the time, all at once even, can keep out a client that needs a moment to
// show its key.
func (s *Listener) makeRoom() {
	for s.held > maxHeld {
		greediest := s.greediest()
		if greediest == nil {
			return
		}
		s.evict(greediest)
		s.tellOfHolders()
	}
}

// evict closes a connection to make room for others, with the lock held. What it
// holds is in memory for a moment more.
func (s *Listener) evict(c *Conn) {
	c.ending = c.held.sum()
	s.ending += c.ending
	s.remove(c)
	c.TCPConn.Close()
	s.freed.Broadcast() // it may be waiting itself
}

// awaitRoom has a connection wait before it reads on while it drains, and, if it
// holds more than its share, while those that have made way still hold what they
// held: it takes them a moment to end.
func (s *Listener) awaitRoom(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c.held.drains || c.held.rank != nil && s.ending > 0 && s.held+s.ending > maxHeld {
		s.freed.Wait()
	}
}

// ended says that nothing is left of a connection, with the lock held.
func (s *Listener) ended(c *Conn) {
	if c.ending > 0 {
		s.ending -= c.ending
		c.ending = 0
		s.freed.Broadcast()
	}
}

// rank puts the connection into its class, with the lock held.
func (s *Listener) rank(c *Conn) {
	class := 0
	if c.place != nil {
		class = s.classOf(c.held.sum())
	}
	if class == c.held.class {
		return
	}
	if c.held.rank != nil {
		s.ranks[c.held.class].Remove(c.held.rank)
		c.held.rank = nil
	}
	if c.held.class = class; class > 0 {
		c.held.since = time.Now()
		c.held.rank = s.ranks[class].PushBack(c)
	}
}

// greediest is the connection to be closed since too much is held, with the lock
// held; nil if none holds more than its share.
func (s *Listener) greediest() (found *Conn) {
	now, most := time.Now(), -1.0
	for class := range s.ranks {
		e := s.ranks[class].Front()
		for e != nil && e.Value.(*Conn).busy.Load() > 0 { // it is just showing its key
			e = e.Next()
		}
		if e == nil {
			continue
		}
		c := e.Value.(*Conn)
		sum := float64(c.held.sum())
		if product := sum * sum * float64(now.Sub(c.held.since)); product > most {
			found, most = c, product
		}
	}
	return found
}

// forgive takes off what a connection holds, since it has shown a valid key, with
// the lock held.
func (s *Listener) forgive(c *Conn) {
	s.held -= c.held.sum()
	c.held.cost, c.held.read, c.held.writes = 0, 0, 0
	s.endStreams(c)
	s.rank(c)
}

// tellOfHolders says now and then that connections have made way, with the lock
// held.
func (s *Listener) tellOfHolders() {
	if time.Since(s.toldOfHolders) > time.Minute {
		s.toldOfHolders = time.Now()
		s.log.Warn("clients without a valid key hold as much memory as they may: those that hold the most make way")
	}
}

// count counts what has been read, if it can be part of a head that no valid key
// has come with.
func (c *Conn) count(n int) {
	if n <= 0 || c.busy.Load() > 0 || c.last.Load() {
		return
	}
	known := c.known.Load()
	if known {
		long := c.head.Add(int64(n)) - smallHead
		if long <= 0 {
			return
		}
		n = min(n, int(long))
	}
	c.home.charge(c, known, func(h *held) { h.read += int64(n) })
	c.home.awaitRoom(c)
}

// completeHead says that a head has come to its end, on a connection that has
// carried a valid key.
func (c *Conn) completeHead() {
	if c.head.Load() != 0 && c.head.Swap(0) > smallHead {
		c.home.charge(c, true, func(h *held) { h.read = 0 })
	}
}

// NoteGreeting is for tls.Config.GetConfigForClient: the greeting has come.
func NoteGreeting(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if c, ok := hello.Conn.(*Conn); ok {
		c.greeted()
	}
	return nil, nil
}

// greeted says that the greeting with which TLS begins has come to its end.
func (c *Conn) greeted() {
	c.home.charge(c, false, func(h *held) { h.read -= min(h.read, smallHead) })
}

// letGo says that of the requests that have been read nothing is in memory any
// more, but for what may have been read ahead.
func (c *Conn) letGo() {
	if c.known.Load() {
		c.completeHead()
		return
	}
	ahead := int64(aheadBytes)
	if c.home.secure {
		ahead = secureAheadBytes
	}
	c.home.charge(c, false, func(h *held) { h.read = min(h.read, ahead) })
}

// beginWrite counts a write to a client without a valid key, until end is called.
func (c *Conn) beginWrite() (end func()) {
	if !c.simple {
		c.writing.Add(1)
		return func() { c.writing.Add(-1) }
	}
	c.home.charge(c, false, func(h *held) { h.writes += writeCost })
	return func() { c.home.charge(c, false, func(h *held) { h.writes = 0 }) }
}

// fallBack says that net/http serves the connection from here on.
func (c *Conn) fallBack() {
	c.simple = false
	c.home.charge(c, false, func(h *held) { h.cost = fallbackCost })
}

// ConnState learns from net/http when a connection over TLS has streams, when its
// requests have been answered, and when it is idle: it is for the ConnState of a server
// whose IdleTimeout is negative.
func ConnState(conn net.Conn, state http.ConnState) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return
	}
	c, ok := secure.NetConn().(*Conn)
	if !ok {
		return
	}
	c.idle.note(state, secure, c.home.idleTimeout)
	switch {
	case c.known.Load():
	case state == http.StateActive && secure.ConnectionState().NegotiatedProtocol == "h2":
		c.beginStreams()
	case state == http.StateIdle:
		c.home.charge(c, false, func(*held) { c.home.endStreams(c) })
		if c.writing.Load() == 0 { // otherwise answers may queue up in net/http
			c.letGo()
		}
	}
}

// beginStreams says that a client of HTTP/2 has streams.
func (c *Conn) beginStreams() {
	c.home.charge(c, false, func(h *held) {
		h.streams = 1
		var late *time.Timer
		late = time.AfterFunc(cmp.Or(c.home.firstStreams, firstStreams), func() {
			c.home.charge(c, false, func(h *held) {
				if h.late == late {
					c.home.endDrain(c)
					h.streams = MaxStreams
				}
			})
		})
		h.late = late
	})
}

// countRefused says that a request over HTTP/2 has been refused. Its answer may be in
// memory for long, and of those that are read before the connection drains, too.
func (c *Conn) countRefused() {
	c.home.charge(c, false, func(h *held) {
		h.requests = min(h.requests+1, MaxStreams)
		h.streams = max(h.streams, h.requests, maxRequests)
		if h.requests == maxRequests && h.streams < MaxStreams && h.late != nil {
			h.drains = true
			h.late.Reset(cmp.Or(c.home.drainTime, drainTime))
		}
	})
}

// endStreams says that a client of HTTP/2 has no stream left, with the lock held.
func (s *Listener) endStreams(c *Conn) {
	if c.held.late != nil {
		c.held.late.Stop()
		c.held.late = nil
	}
	c.held.streams, c.held.requests = 0, 0
	s.endDrain(c)
}

// endDrain reads on from a connection, with the lock held.
func (s *Listener) endDrain(c *Conn) {
	if c.held.drains {
		c.held.drains = false
		s.freed.Broadcast()
	}
}

// DropRequests lets go of each request once it is answered. Left to itself
// net/http keeps all of its headers until the client has taken in the answer.
func DropRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		c := ClientOf(r.Context())
		if r.ProtoMajor == 2 {
			r.Body.Close() // what has come of it
			if c != nil && !c.known.Load() {
				c.countRefused()
			}
		}
		r.URL, r.Header, r.Trailer, r.Host, r.RequestURI = nil, nil, nil, "", ""
		if c == nil || r.ProtoMajor == 2 {
			return // others may be on their way: see connState
		}
		if close := w.Header()["Connection"]; len(close) > 0 && close[0] == "close" {
			c.last.Store(true)
		}
		c.letGo()
	})
}
