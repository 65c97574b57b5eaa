//go:build !linux || race || 386

package handler

import (
	"net"
	"sync"
)

// socket is a TCP connection; on Linux it is a faster one.
type socket struct{ *net.TCPConn }

// newSocket makes a socket of a connection, if it is one of TCP.
func newSocket(c net.Conn) net.Conn {
	if tcp, ok := c.(*net.TCPConn); ok {
		return &socket{tcp}
	}
	return c
}

// readFresh implements freshReader, but for having nothing while it waits.
func (s *socket) readFresh(from *sync.Pool) (*space, int, error) {
	lent := borrow(from)
	n, err := s.Read(lent.bytes)
	if err != nil {
		lent.giveBack()
		return nil, 0, err
	}
	return lent, n, nil
}
