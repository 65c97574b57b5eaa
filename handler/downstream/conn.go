package downstream

import (
	"container/list"
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/reqctx"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// Conn is a TCP connection of a client, accepted by a [Listener]. It counts what the
// client makes the process hold before it has shown a valid key, and bounds how long a
// write to it may take.
type Conn struct {
	*net.TCPConn
	stream        net.Conn // the same connection, through package socket
	listener      *Listener
	authenticated atomic.Bool  // it has carried a valid key
	busy          atomic.Int32 // requests with a valid key in flight
	deadlineHolds atomic.Int32 // calls of HoldDeadline, less those of ReleaseDeadline
	used          atomic.Bool  // it has carried a request since idleAuthenticated looked
	headBytes     atomic.Int64 // of the incomplete head, if authenticated
	noMoreHeads   atomic.Bool  // no further head is read from it
	ownDeadline   atomic.Bool  // the write deadline was set by Write

	// FinalDeadline keeps the write deadline that is set from being moved, until the
	// end of the request clears both: see SetWriteDeadline.
	FinalDeadline atomic.Bool

	writing      atomic.Int32 // writes under way, if not authenticated
	simple       bool         // a SimpleServer serves it
	held         held
	idle         idleTimer // with TLS
	evictedBytes int64     // what it held when it was evicted; 0 once it has ended

	hangupID uint64       // its key in Hangups
	ctx      *reqctx.Conn // nil if Hangups does not watch it

	element *list.Element // in a list of its listener, whose lock guards it; nil: in none
}

// HangUp closes all connections at once, also those on which an answer is being sent.
func (s *Listener) HangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range []*list.List{&s.unauthenticated, &s.authenticated} {
		for e := l.Front(); e != nil; e = e.Next() {
			e.Value.(*Conn).TCPConn.Close()
		}
	}
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.listener.mu.Lock()
	c.listener.remove(c)
	c.listener.forgetEvicted(c)
	c.listener.mu.Unlock()
	return c.TCPConn.Close()
}

// Read implements net.Conn. Bytes that may belong to a head are counted.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.stream.Read(b)
	c.countHead(n)
	return n, err
}

// readBuffer waits for bytes and reads them into a borrowed buffer, see
// socket.BufferReader. They do not count as bytes of a head: if the head is not
// complete, the connection goes to net/http, which reads and counts them again.
func (c *Conn) readBuffer() (s *socket.Buffer, in []byte, err error) {
	s, n, err := c.stream.(socket.BufferReader).ReadBuffer(socket.HeadBuffers)
	if err != nil {
		return nil, nil, err
	}
	return s, s.Bytes[:n], nil
}

// Write implements net.Conn. It bounds how long a client that does not read may hold it
// up, unless HoldDeadline has been called.
func (c *Conn) Write(b []byte) (int, error) {
	c.boundWrite()
	if !c.authenticated.Load() {
		defer c.beginWrite()()
	}
	return c.stream.Write(b)
}

// writeAll writes several pieces like Write, without copying them into one.
func (c *Conn) writeAll(pieces net.Buffers) (int64, error) {
	c.boundWrite()
	return pieces.WriteTo(c.TCPConn)
}

// boundWrite sets the deadline of a write, or clears the one that it set before, if
// somebody now holds the deadline.
func (c *Conn) boundWrite() {
	if c.FinalDeadline.Load() {
		return
	}
	if c.deadlineHolds.Load() == 0 {
		c.SetWriteDeadline(time.Now().Add(WriteTimeout(c.authenticated.Load(), c.listener.stallTimeout)))
		c.ownDeadline.Store(true)
	} else if c.ownDeadline.Load() {
		c.SetWriteDeadline(time.Time{})
	}
}

// SetWriteDeadline implements net.Conn. While FinalDeadline is set, it only clears the
// deadline, at the end of the request: crypto/tls would extend it by seconds to send its
// closing alert.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.FinalDeadline.Load() && !t.IsZero() {
		return nil
	}
	c.FinalDeadline.Store(false)
	c.ownDeadline.Store(false)
	return c.TCPConn.SetWriteDeadline(t)
}

// Enter counts a request with a valid key on the connection, until Leave. It reports
// whether the listener's limit on connections that carry requests allows it; if it
// does not, the request is to be refused. c may be nil: then there is no limit.
func (c *Conn) Enter() (room bool) {
	if c == nil {
		return true
	}
	if c.busy.Add(1) == 1 {
		c.listener.busy.Add(1)
	}
	if room = c.listener.busy.Load() <= int64(c.listener.maxBusy); !room {
		c.listener.logBusy()
	}
	c.used.Store(true)
	if c.authenticated.Load() {
		c.completeHead()
		return room
	}
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.listener.uncharge(c)
	if c.element != nil && !c.authenticated.Load() {
		c.listener.unauthenticated.Remove(c.element)
		c.element = c.listener.authenticated.PushBack(c)
	}
	c.authenticated.Store(true)
	return room
}

// Leave undoes an Enter.
func (c *Conn) Leave() {
	if c != nil && c.busy.Add(-1) == 0 {
		c.listener.busy.Add(-1)
	}
}

// HoldDeadline keeps Write from setting a deadline, until ReleaseDeadline: the caller
// bounds the time itself. c may be nil.
func (c *Conn) HoldDeadline() {
	if c != nil {
		c.deadlineHolds.Add(1)
	}
}

// ReleaseDeadline undoes a HoldDeadline.
func (c *Conn) ReleaseDeadline() {
	if c != nil {
		c.deadlineHolds.Add(-1)
	}
}

// WithConn returns a context that carries the connection, for [ConnOf] and
// [ResetOnClose]. It is for http.Server.ConnContext.
func WithConn(ctx context.Context, c net.Conn) context.Context {
	if encrypted, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = encrypted.NetConn()
	}
	return reqctx.WithOwner(ctx, c)
}

// ConnOf returns the connection of the request whose context this is, or nil if a
// [Listener] has not accepted it.
func ConnOf(ctx context.Context) *Conn {
	c, _ := reqctx.OwnerOf(ctx).(*Conn)
	return c
}

// ResetOnClose makes closing the connection of a request send a TCP reset. A client of
// HTTP/1.0 would take an orderly close for the end of a whole answer.
func ResetOnClose(ctx context.Context) {
	if c, ok := reqctx.OwnerOf(ctx).(interface{ SetLinger(int) error }); ok {
		c.SetLinger(0)
	}
}
