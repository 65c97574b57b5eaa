package downstream

import (
	"container/list"
	"crypto/tls"
	"math/bits"
	"net"
	"net/http"
	"time"
)

// The memory that connections without a valid key make the process hold is estimated,
// connection by connection, and limited for all of them together. The constants are
// upper bounds of what Go was measured to keep.
const (
	// maxHeld limits the estimate: 56 MiB. The garbage collector lets the heap grow to
	// twice of what is in use, including the ballast that main allocates, so that the
	// process then takes less than 256 MiB more than when it is idle.
	maxHeld = 56 << 20

	// simpleCost is what a connection takes while the SimpleServer waits for a request
	// on it: 4 KiB, mostly the stack of its goroutine.
	simpleCost = 4 << 10

	// fallbackCost is what a connection without TLS takes once net/http serves it: 24
	// KiB.
	fallbackCost = 24 << 10

	// tlsCost is what a connection with TLS takes, in HTTP/1.1 and HTTP/2: 32 KiB. The
	// bytes of the handshake count like those of a head until the ClientHello is
	// complete; from then on the first smallHead of them do not count.
	tlsCost = 32 << 10

	// writeCost is what a refusal by the SimpleServer takes until the client has read
	// it: 24 KiB, for the request and the buffers.
	writeCost = 24 << 10

	// headFactor is the ratio of the memory that a head takes to its bytes: 15 was
	// measured for short headers in HTTP/1.1, up to 50 for indexed fields in HTTP/2, of
	// which tlsCost and streamCost cover a part.
	headFactor = 32

	// smallHead is how much of a head does not count on a connection that has carried
	// a valid key before: 4 KiB, more than most heads have.
	smallHead = 4 << 10

	// aheadBytes and tlsAheadBytes bound what net/http may have read of the requests
	// that follow: 4 KiB without TLS, a record of 16 KiB with TLS.
	aheadBytes    = 4 << 10
	tlsAheadBytes = 16 << 10
)

// held estimates the memory that a connection holds, in bytes, while it has not shown a
// valid key. The lock of the Listener guards it.
type held struct {
	cost   int64 // of the connection itself
	read   int64 // bytes of heads that are incomplete or not yet answered
	writes int64 // cost of the answers that the client has not read

	streams int64 // of HTTP/2, at most
	refused int64 // requests on them since there was no stream

	class   int           // of its sum, see classOf
	since   time.Time     // when it entered the class
	element *list.Element // in the class; nil: it holds no more than its share

	drains bool        // nothing is read until no stream is left
	all    *time.Timer // charges for MaxStreams; nil: there is no stream
}

func (h *held) sum() int64 { return h.cost + h.read*headFactor + h.streams*streamCost + h.writes }

// sizeClasses sorts the connections that hold more than their share by how much they
// hold. Each class covers twice as many bytes as the one before. Within a class, the
// connection that entered it first comes first.
type sizeClasses [24]list.List

// share returns how many bytes a connection may hold without ever being evicted for
// memory.
func (s *Listener) share() int64 { return maxHeld / int64(s.Max) }

// classOf returns the size class of a sum in bytes: 0 if it is at most the share.
func (s *Listener) classOf(sum int64) int {
	return min(bits.Len64(uint64(sum/max(1, s.share()+1))), len(s.classes)-1)
}

// charge changes what a connection holds, and evicts connections if all together then
// hold too much. It does nothing if the connection is closed, or if its authenticated
// has changed since the caller read it.
func (s *Listener) charge(c *Conn, authenticated bool, change func(*held)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.element == nil || c.authenticated.Load() != authenticated {
		return
	}
	before := c.held.sum()
	change(&c.held)
	s.held += c.held.sum() - before
	s.classify(c)
	s.freeMemory()
}

// freeMemory evicts connections while all together hold too much, with the lock held.
// The choice falls on the connection with the greatest product of the time in its class
// and the square of what it holds. So a client that needs a moment to show its key is
// kept out neither by many connections that hold little, nor by a few that reconnect all
// the time, even all at once.
func (s *Listener) freeMemory() {
	for s.held > maxHeld {
		victim := s.largest()
		if victim == nil {
			return
		}
		s.evict(victim)
		s.logMemory()
	}
}

// evict closes a connection to make room for others, with the lock held. The memory that
// it holds is free a moment later, see forgetEvicted.
func (s *Listener) evict(c *Conn) {
	c.evictedBytes = c.held.sum()
	s.evicted += c.evictedBytes
	s.remove(c)
	c.TCPConn.Close()
	s.freed.Broadcast() // its own goroutine may wait in awaitMemory
}

// awaitMemory blocks the reader of a connection while the connection drains. It also
// blocks it if the connection holds more than its share, while evicted connections still
// hold the memory that it needs.
func (s *Listener) awaitMemory(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c.held.drains || c.held.element != nil && s.evicted > 0 && s.held+s.evicted > maxHeld {
		s.freed.Wait()
	}
}

// forgetEvicted records that an evicted connection holds no memory any more, with the
// lock held.
func (s *Listener) forgetEvicted(c *Conn) {
	if c.evictedBytes > 0 {
		s.evicted -= c.evictedBytes
		c.evictedBytes = 0
		s.freed.Broadcast()
	}
}

// classify moves the connection to the size class of what it holds, with the lock held.
func (s *Listener) classify(c *Conn) {
	class := 0
	if c.element != nil {
		class = s.classOf(c.held.sum())
	}
	if class == c.held.class {
		return
	}
	if c.held.element != nil {
		s.classes[c.held.class].Remove(c.held.element)
		c.held.element = nil
	}
	if c.held.class = class; class > 0 {
		c.held.since = time.Now()
		c.held.element = s.classes[class].PushBack(c)
	}
}

// largest returns the connection to evict since too much is held, see freeMemory; nil if
// none holds more than its share. The lock is held.
func (s *Listener) largest() (found *Conn) {
	now, most := time.Now(), -1.0
	for class := range s.classes {
		e := s.classes[class].Front()
		for e != nil && e.Value.(*Conn).busy.Load() > 0 { // its key has just been verified
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

// uncharge resets what a connection holds to 0, since it has shown a valid key or is
// closed; with the lock held.
func (s *Listener) uncharge(c *Conn) {
	s.held -= c.held.sum()
	c.held.cost, c.held.read, c.held.writes = 0, 0, 0
	s.endStreams(c)
	s.classify(c)
}

// logMemory logs, at most once a minute, that connections are evicted for memory; with
// the lock held.
func (s *Listener) logMemory() {
	if time.Since(s.loggedMemory) > time.Minute {
		s.loggedMemory = time.Now()
		s.log.Warn("clients without a valid key hold all memory that they may: closing the connections that hold the most")
	}
}

// countHead charges n bytes that have been read, if they can belong to a head for which
// no valid key has been seen yet. It blocks while the connection must not read on.
func (c *Conn) countHead(n int) {
	if n <= 0 || c.busy.Load() > 0 || c.noMoreHeads.Load() {
		return
	}
	authenticated := c.authenticated.Load()
	if authenticated {
		long := c.headBytes.Add(int64(n)) - smallHead
		if long <= 0 {
			return
		}
		n = min(n, int(long))
	}
	c.listener.charge(c, authenticated, func(h *held) { h.read += int64(n) })
	c.listener.awaitMemory(c)
}

// completeHead takes off the bytes of a head that is complete, on an authenticated
// connection.
func (c *Conn) completeHead() {
	if c.headBytes.Load() != 0 && c.headBytes.Swap(0) > smallHead {
		c.listener.charge(c, true, func(h *held) { h.read = 0 })
	}
}

// OnClientHello is for tls.Config.GetConfigForClient. It stops counting the bytes of the
// ClientHello against the connection, up to smallHead, and keeps the configuration.
func OnClientHello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if c, ok := hello.Conn.(*Conn); ok {
		c.clientHelloRead()
	}
	return nil, nil
}

// clientHelloRead takes off up to smallHead bytes: those of the TLS ClientHello, which is
// complete.
func (c *Conn) clientHelloRead() {
	c.listener.charge(c, false, func(h *held) { h.read -= min(h.read, smallHead) })
}

// releaseRequests takes off the bytes of all heads that have been read, since their
// requests have been answered. What net/http may have read ahead stays charged.
func (c *Conn) releaseRequests() {
	if c.authenticated.Load() {
		c.completeHead()
		return
	}
	ahead := int64(aheadBytes)
	if c.listener.tls {
		ahead = tlsAheadBytes
	}
	c.listener.charge(c, false, func(h *held) { h.read = min(h.read, ahead) })
}

// beginWrite charges a write to a client without a valid key until end is called. For
// connections that net/http serves it only counts the write, see ConnState.
func (c *Conn) beginWrite() (end func()) {
	if !c.simple {
		c.writing.Add(1)
		return func() { c.writing.Add(-1) }
	}
	c.listener.charge(c, false, func(h *held) { h.writes += writeCost })
	return func() { c.listener.charge(c, false, func(h *held) { h.writes = 0 }) }
}

// fallBack charges the connection for being served by net/http from here on.
func (c *Conn) fallBack() {
	c.simple = false
	c.listener.charge(c, false, func(h *held) { h.cost = fallbackCost })
}

// ConnState is for http.Server.ConnState, of a server whose IdleTimeout is negative: it
// closes idle connections with TLS. It charges a connection of HTTP/2 without a valid
// key for its streams, and ends that, and a drain, once all of its requests have been
// answered.
func ConnState(conn net.Conn, state http.ConnState) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return
	}
	c, ok := secure.NetConn().(*Conn)
	if !ok {
		return
	}
	c.idle.note(state, secure, c.listener.idleTimeout)
	switch {
	case c.authenticated.Load():
	case state == http.StateActive && secure.ConnectionState().NegotiatedProtocol == "h2":
		c.beginStreams()
	case state == http.StateIdle:
		c.listener.charge(c, false, func(*held) { c.listener.endStreams(c) })
		if c.writing.Load() == 0 { // otherwise answers may still be queued in net/http
			c.releaseRequests()
		}
	}
}

// DropRequests is a middleware that drops all references to a request's head once it is
// answered, so that its memory can be freed. net/http itself keeps them until the client
// has read the answer.
func DropRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		c := ConnOf(r.Context())
		if r.ProtoMajor == 2 {
			r.Body.Close() // frees what has been read of it
			if c != nil && !c.authenticated.Load() {
				c.countRefused()
			}
		}
		r.URL, r.Header, r.Trailer, r.Host, r.RequestURI = nil, nil, nil, "", ""
		if c == nil || r.ProtoMajor == 2 {
			return // other streams may be open: ConnState reports when none is
		}
		if close := w.Header()["Connection"]; len(close) > 0 && close[0] == "close" {
			c.noMoreHeads.Store(true)
		}
		c.releaseRequests()
	})
}
