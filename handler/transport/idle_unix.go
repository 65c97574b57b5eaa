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

// idleCheck checks whether an idle connection can be used. http.Transport has a
// goroutine for each connection that waits for it to be closed, or for bytes that were
// not asked for; here the caller checks, when it needs a connection.
type idleCheck struct {
	raw   syscall.RawConn
	peek  func(fd uintptr) bool // sets quiet; allocated once
	quiet bool                  // there is nothing to read
}

// initIdleCheck prepares isAlive.
func (c *conn) initIdleCheck() {
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

// isAlive reports whether an idle connection can be used: Ollama has not closed it, and
// no bytes have arrived that nobody asked for. Those would be taken for the next
// response, and reach another client.
func (c *conn) isAlive() bool {
	if c.raw == nil {
		return false
	}
	c.quiet = false
	if err := c.raw.Read(c.peek); err != nil || !c.quiet {
		return false
	}
	secure, ok := c.stream.(*tls.Conn)
	return !ok || nothingDecrypted(secure)
}

// nothingDecrypted reports whether a TLS connection holds no decrypted bytes.
func nothingDecrypted(c net.Conn) bool {
	c.SetReadDeadline(socket.LongAgo)
	defer c.SetReadDeadline(time.Time{})
	n, err := c.Read(make([]byte, 1))
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}
