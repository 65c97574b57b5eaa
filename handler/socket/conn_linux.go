//go:build linux && !race && !386

package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// socket is a TCP connection that reads and writes without telling Go's
// scheduler. It tells it of each system call, in case that takes long, and that
// wakes a thread which then looks after it, fifty times a millisecond: where
// streams trickle, that is a third of all the time that the proxy takes. But
// calls on a socket of Go's return at once, with nothing done if nothing can be,
// and then the goroutine waits as always. The race detector, which learns from
// Go's own calls what came before what, gets those.
type socket struct {
	*net.TCPConn
	raw syscall.RawConn
	in  reader
	out direction
}

// direction is one direction of a socket. A call's arguments and results stand in it
// and not in a closure, which each call would have to allocate.
type direction struct {
	sync.Mutex
	call  uintptr // recvfrom or sendto: read and write first have to find out that it is a socket
	rest  []byte  // to be read into, or to be written
	all   bool    // not only as much as goes at once
	n     int
	errno syscall.Errno
	try   func(fd uintptr) (done bool)
}

// reader is the half that is read, also into a buffer that is borrowed when
// something has come.
type reader struct {
	direction
	buffer    *Buffer
	from      *sync.Pool
	tryBuffer func(fd uintptr) (done bool)
}

// newSocket makes a socket of a connection, if it is one of TCP.
func New(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	s := &socket{TCPConn: tcp, raw: raw}
	s.in.call, s.out.call, s.out.all = syscall.SYS_RECVFROM, syscall.SYS_SENDTO, true
	s.in.try, s.out.try, s.in.tryBuffer = s.in.move, s.out.move, s.in.moveBuffer
	return s
}

// move makes the call, and reports whether there is nothing to wait for.
func (h *direction) move(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(h.call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(h.rest))), uintptr(len(h.rest)), syscall.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			h.errno = errno
			return true
		}
		h.n += int(n)
		if h.rest = h.rest[n:]; !h.all || len(h.rest) == 0 {
			return true
		}
	}
}

// moveBuffer makes the call with a buffer that it has only while there is
// something to be read.
func (i *reader) moveBuffer(fd uintptr) bool {
	i.buffer = Borrow(i.from)
	i.rest = i.buffer.Bytes
	done := i.move(fd)
	if i.n == 0 {
		i.buffer.Release()
		i.buffer, i.rest = nil, nil
	}
	return done
}

// ReadBuffer implements BufferReader.
func (s *socket) ReadBuffer(from *sync.Pool) (*Buffer, int, error) {
	i := &s.in
	i.Lock()
	defer i.Unlock()
	i.from = from
	err := i.run(s.raw.Read, i.tryBuffer, nil)
	lent, n := i.buffer, i.n
	i.buffer = nil
	if n == 0 && err == nil {
		err = io.EOF
	}
	if err != nil {
		lent.Release()
		return nil, 0, s.explain("read", err)
	}
	return lent, n, nil
}

func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.in.do(s.raw.Read, p)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, s.explain("read", err)
}

func (s *socket) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.out.do(s.raw.Write, p)
	return n, s.explain("write", err)
}

func (h *direction) do(whenReady func(func(uintptr) bool) error, p []byte) (int, error) {
	h.Lock()
	defer h.Unlock()
	err := h.run(whenReady, h.try, p)
	return h.n, err
}

// run has try called until it is done, with the lock held.
func (h *direction) run(whenReady func(func(uintptr) bool) error, try func(uintptr) bool, p []byte) error {
	h.rest, h.n, h.errno = p, 0, 0
	err := whenReady(try)
	h.rest = nil
	if h.errno != 0 {
		return h.errno
	}
	return err
}

// explain gives errors the form that they have in package net.
func (s *socket) explain(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	var errno syscall.Errno
	var already *net.OpError
	switch {
	case errors.As(err, &errno):
		err = os.NewSyscallError(op, errno)
	case errors.As(err, &already):
		err = already.Err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

// Peek looks whether there is a byte to be read, or the end.
func Peek(fd uintptr) error {
	var b [1]byte
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
