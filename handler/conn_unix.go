//go:build unix

package handler

import "syscall"

// isAlive reports whether the connection can still be used: it has not been
// closed, and nothing has come that nobody asked for.
func (c *conn) isAlive() bool {
	c.quiet = false
	err := c.raw.Read(c.peek)
	return err == nil && c.quiet
}

func (c *conn) look(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	c.quiet = err == syscall.EAGAIN
	return true
}
