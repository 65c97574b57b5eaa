package downstream

import (
	"net"
	"sync"
	"time"
)

// Fallback is a listener that accepts connections which somebody has begun to
// serve, and gives up.
type Fallback struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	addr   net.Addr
}

func NewFallback(addr net.Addr) *Fallback {
	return &Fallback{conns: make(chan net.Conn), closed: make(chan struct{}), addr: addr}
}

// give hands a connection over. If nobody accepts any more, it is closed.
func (h *Fallback) give(c net.Conn) {
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

// rewound is a connection of which something has been read.
type rewound struct {
	*Conn
	read  []byte
	until time.Time // when its first head has to be there; zero: it is not the first
}

// SetReadDeadline gives a first head no more time than the connection was given
// when it came. Once that head is there, net/http sets no deadline.
func (c *rewound) SetReadDeadline(t time.Time) error {
	if !c.until.IsZero() {
		if t.IsZero() {
			c.until = t
		} else if t.After(c.until) {
			t = c.until
		}
	}
	return c.Conn.SetReadDeadline(t)
}

// Read gives what has been read before, first. It counts as it would if it had
// just come.
func (c *rewound) Read(p []byte) (int, error) {
	if len(c.read) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.read)
	if c.read = c.read[n:]; len(c.read) == 0 {
		c.read = nil // the connection may live long
	}
	c.Conn.count(n)
	return n, nil
}

// NetConn is the connection itself.
func (c *rewound) NetConn() net.Conn { return c.Conn }
