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

// Conn is a connection that somebody has opened.
type Conn struct {
	*net.TCPConn
	io    net.Conn // the same, read and written as fast as can be
	home  *Listener
	known atomic.Bool
	busy  atomic.Int32 // requests with a valid key that it carries
	awake atomic.Int32 // watchdogs of theirs
	used  atomic.Bool  // it has carried one since somebody looked
	head  atomic.Int64 // bytes of a head that is not complete, where it is known
	last  atomic.Bool  // no more heads are read from it
	late  atomic.Bool  // Write has set a deadline, and nobody else has since
	Cut   atomic.Bool  // the deadline for writing is the last

	writing atomic.Int32 // writes under way, while it is not known
	simple  bool         // plainServer serves it
	held    held
	idle    idleTimer // over TLS
	ending  int64     // what it held when it was closed for that

	id        uint64       // among hangups
	departure *reqctx.Conn // nil if net/http learns of it

	place *list.Element // in one of home's lists, whose lock guards it; nil: in none
}

// HangUp closes all connections at once, whatever is still to be said on them.
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
	c.home.mu.Lock()
	c.home.remove(c)
	c.home.ended(c)
	c.home.mu.Unlock()
	return c.TCPConn.Close()
}

// Read counts what may be part of a head.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.io.Read(b)
	c.count(n)
	return n, err
}

// readBuffer reads what comes next, see socket.BufferReader. None of it counts as part of a
// head: either the head is all there, or it is handed over.
func (c *Conn) readBuffer() (s *socket.Buffer, in []byte, err error) {
	s, n, err := c.io.(socket.BufferReader).ReadBuffer(socket.HeadBuffers)
	if err != nil {
		return nil, nil, err
	}
	return s, s.Bytes[:n], nil
}

// Write bounds how long those may take who do not read, where no watchdog is
// awake to do so.
func (c *Conn) Write(b []byte) (int, error) {
	c.boundWrite()
	if !c.known.Load() {
		defer c.beginWrite()()
	}
	return c.io.Write(b)
}

// writeAll is Write for several pieces, which it takes no copy of.
func (c *Conn) writeAll(pieces net.Buffers) (int64, error) {
	c.boundWrite()
	return pieces.WriteTo(c.TCPConn)
}

func (c *Conn) boundWrite() {
	if c.Cut.Load() {
		return
	}
	if c.awake.Load() == 0 {
		c.SetWriteDeadline(time.Now().Add(WriteTimeout(c.known.Load(), c.home.stalled)))
		c.late.Store(true)
	} else if c.late.Load() {
		c.SetWriteDeadline(time.Time{})
	}
}

// SetWriteDeadline implements net.Conn. Where the deadline is the last, only the end
// of the request changes it: TLS would like some seconds more to say goodbye.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.Cut.Load() && !t.IsZero() {
		return nil
	}
	c.Cut.Store(false)
	c.late.Store(false)
	return c.TCPConn.SetWriteDeadline(t)
}

// Enter says that the connection carries a request with a valid key, until
// leave. It reports whether there is room for one.
func (c *Conn) Enter() (room bool) {
	if c == nil {
		return true
	}
	if c.busy.Add(1) == 1 {
		c.home.busy.Add(1)
	}
	if room = c.home.busy.Load() <= int64(c.home.maxBusy); !room {
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
		c.home.unauthenticated.Remove(c.place)
		c.place = c.home.authenticated.PushBack(c)
	}
	c.known.Store(true)
	return room
}

func (c *Conn) Leave() {
	if c != nil && c.busy.Add(-1) == 0 {
		c.home.busy.Add(-1)
	}
}

// HoldDeadline says that a watchdog looks after the connection, until unwatched.
func (c *Conn) HoldDeadline() {
	if c != nil {
		c.awake.Add(1)
	}
}

func (c *Conn) ReleaseDeadline() {
	if c != nil {
		c.awake.Add(-1)
	}
}

// WithConn keeps the connection of a request where the request's handler finds
// it.
func WithConn(ctx context.Context, c net.Conn) context.Context {
	if encrypted, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = encrypted.NetConn()
	}
	return reqctx.WithOwner(ctx, c)
}

// ClientOf is the connection of a request; nil if its listener is not one of
// clients.
func ClientOf(ctx context.Context) *Conn {
	c, _ := reqctx.OwnerOf(ctx).(*Conn)
	return c
}

// ResetOnClose makes the connection end with a reset. To a client of HTTP/1.0
// an orderly close is the proper end of an answer.
func ResetOnClose(ctx context.Context) {
	if c, ok := reqctx.OwnerOf(ctx).(interface{ SetLinger(int) error }); ok {
		c.SetLinger(0)
	}
}
