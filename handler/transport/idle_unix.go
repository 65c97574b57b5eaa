//go:build unix

package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// idleWatch tells whether a connection that was idle can be used. http.Transport
// has a goroutine that waits for it to be closed, and for bytes that nobody has
// asked for; here somebody looks when the connection is wanted again.
type idleWatch struct {
	raw   syscall.RawConn
	peek  func(fd uintptr) bool
	quiet bool // what peek has found
}

func (c *conn) watchIdle() {
	stream := c.stream
	if secure, ok := stream.(*tls.Conn); ok {
		stream = secure.NetConn()
	}
	if s, ok := stream.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn()
	}
	c.peek = func(fd uintptr) bool {
		c.quiet = socket.Peek(fd) == syscall.EAGAIN
		return true
	}
}

// isAlive reports whether the connection can still be used: it has not been
// closed, and nothing has come that nobody asked for. Such bytes would pass for
// the next answer, and reach someone else.
func (c *conn) isAlive() bool {
	if c.raw == nil {
		return false
	}
	c.quiet = false
	if err := c.raw.Read(c.peek); err != nil || !c.quiet {
		return false
	}
	secure, ok := c.stream.(*tls.Conn)
	return !ok || isQuiet(secure)
}

// isQuiet reports whether nothing is left of what has been decrypted.
func isQuiet(c net.Conn) bool {
	c.SetReadDeadline(socket.LongAgo)
	defer c.SetReadDeadline(time.Time{})
	n, err := c.Read(make([]byte, 1))
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}
