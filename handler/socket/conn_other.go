//go:build !linux || race || 386

package socket

import (
	"net"
	"sync"
)

// socket is a TCP connection that uses package net's own calls. conn_linux.go has a
// faster one.
type socket struct{ *net.TCPConn }

// New wraps a *net.TCPConn, so that the result also implements [BufferReader]. Any other
// connection, such as one over TLS, is returned as it is.
func New(c net.Conn) net.Conn {
	if tcp, ok := c.(*net.TCPConn); ok {
		return &socket{tcp}
	}
	return c
}

// ReadBuffer implements [BufferReader], but holds its buffer while it waits.
func (s *socket) ReadBuffer(pool *sync.Pool) (*Buffer, int, error) {
	b := Borrow(pool)
	n, err := s.Read(b.Bytes)
	if err != nil {
		b.Release()
		return nil, 0, err
	}
	return b, n, nil
}
