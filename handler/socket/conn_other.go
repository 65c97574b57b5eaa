//go:build !linux || race || 386

package socket

import (
	"net"
	"sync"
)

// socket is a TCP connection; on Linux it is a faster one.
type socket struct{ *net.TCPConn }

// newSocket makes a socket of a connection, if it is one of TCP.
func New(c net.Conn) net.Conn {
	if tcp, ok := c.(*net.TCPConn); ok {
		return &socket{tcp}
	}
	return c
}

// ReadBuffer implements BufferReader, but for having nothing while it waits.
func (s *socket) ReadBuffer(from *sync.Pool) (*Buffer, int, error) {
	lent := Borrow(from)
	n, err := s.Read(lent.Bytes)
	if err != nil {
		lent.Release()
		return nil, 0, err
	}
	return lent, n, nil
}
