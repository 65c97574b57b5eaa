package downstream

import (
	"net"
	"sync"
	"time"
)

// Fallback is a net.Listener whose connections come from a [SimpleServer]: those that
// carry a request that is not simple. net/http's server accepts and serves them.
type Fallback struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	addr   net.Addr
}

// NewFallback returns a Fallback for connections that were accepted at addr.
func NewFallback(addr net.Addr) *Fallback {
	return &Fallback{conns: make(chan net.Conn), closed: make(chan struct{}), addr: addr}
}

// hand waits until Accept returns the connection to its caller. If the Fallback is
// closed, hand closes the connection.
func (h *Fallback) hand(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		c.Close()
	}
}

// Accept implements net.Listener.
func (h *Fallback) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *Fallback) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *Fallback) Addr() net.Addr { return h.addr }

// rewound is a connection that reads again what the SimpleServer has already read
// from it.
type rewound struct {
	*Conn
	read         []byte
	headDeadline time.Time // of the connection's first head; zero: the first head has been read
}

// SetReadDeadline sets the read deadline, but for the connection's first head no later
// than the deadline that the SimpleServer set. net/http sets a zero deadline once it
// has read that head.
func (c *rewound) SetReadDeadline(t time.Time) error {
	if !c.headDeadline.IsZero() {
		if t.IsZero() {
			c.headDeadline = t
		} else if t.After(c.headDeadline) {
			t = c.headDeadline
		}
	}
	return c.Conn.SetReadDeadline(t)
}

// Read returns the bytes that were read before, and then reads from the connection.
// Both count as bytes of a head.
func (c *rewound) Read(p []byte) (int, error) {
	if len(c.read) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.read)
	if c.read = c.read[n:]; len(c.read) == 0 {
		c.read = nil // the connection may live long
	}
	c.Conn.countHead(n)
	return n, nil
}

// NetConn returns the connection that c wraps.
func (c *rewound) NetConn() net.Conn { return c.Conn }
