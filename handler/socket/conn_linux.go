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

// socket is a TCP connection that reads and writes with raw system calls, which Go's
// scheduler does not see. Package net announces each system call to the scheduler in
// case it blocks, and that wakes a thread which then polls for it, fifty times a
// millisecond: where streams trickle, this takes a third of the proxy's processor time.
// The calls here cannot block, because Go's sockets are non-blocking: if there is
// nothing to read, or no space to write to, they return at once, and the goroutine waits
// in Go's poller as usual. The race detector derives the order of events from package
// net's own calls, so under -race those are used.
type socket struct {
	*net.TCPConn
	raw syscall.RawConn
	in  reader
	out direction
}

// direction is the reading or the writing half of a socket. The arguments and results of
// a call are fields, because a closure would be allocated by each call.
type direction struct {
	sync.Mutex
	call     uintptr // SYS_RECVFROM or SYS_SENDTO: unlike read and write, they need not find out that fd is a socket
	pending  []byte  // still to be filled, or to be written
	untilAll bool    // keep on until pending is empty, as Write must
	n        int     // bytes moved so far
	errno    syscall.Errno
	try      func(fd uintptr) (done bool)
}

// reader is the reading half of a socket. It can also read into a buffer that it borrows
// once bytes have arrived.
type reader struct {
	direction
	buffer         *Buffer
	pool           *sync.Pool
	moveIntoBuffer func(fd uintptr) (done bool)
}

// New wraps a *net.TCPConn, so that the result also implements [BufferReader]. Any other
// connection, such as one over TLS, is returned as it is.
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
	s.in.call, s.out.call, s.out.untilAll = syscall.SYS_RECVFROM, syscall.SYS_SENDTO, true
	s.in.try, s.out.try, s.in.moveIntoBuffer = s.in.move, s.out.move, s.in.moveBuffer
	return s
}

// move reads or writes as much as goes without waiting. It reports whether the caller is
// done; if not, fd is not ready and move is to be called again once it is.
func (d *direction) move(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(d.call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(d.pending))), uintptr(len(d.pending)), syscall.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			d.errno = errno
			return true
		}
		d.n += int(n)
		if d.pending = d.pending[n:]; !d.untilAll || len(d.pending) == 0 {
			return true
		}
	}
}

// moveBuffer is move into a buffer that it borrows first, and releases again if nothing
// was read.
func (r *reader) moveBuffer(fd uintptr) bool {
	r.buffer = Borrow(r.pool)
	r.pending = r.buffer.Bytes
	done := r.move(fd)
	if r.n == 0 {
		r.buffer.Release()
		r.buffer, r.pending = nil, nil
	}
	return done
}

// ReadBuffer implements BufferReader.
func (s *socket) ReadBuffer(pool *sync.Pool) (*Buffer, int, error) {
	r := &s.in
	r.Lock()
	defer r.Unlock()
	r.pool = pool
	err := r.run(s.raw.Read, r.moveIntoBuffer, nil)
	b, n := r.buffer, r.n
	r.buffer = nil
	if n == 0 && err == nil {
		err = io.EOF
	}
	if err != nil {
		b.Release()
		return nil, 0, s.netError("read", err)
	}
	return b, n, nil
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.in.do(s.raw.Read, p)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, s.netError("read", err)
}

// Write implements net.Conn.
func (s *socket) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.out.do(s.raw.Write, p)
	return n, s.netError("write", err)
}

// do moves p, waiting for the socket whenever it is not ready.
func (d *direction) do(whenReady func(func(uintptr) bool) error, p []byte) (int, error) {
	d.Lock()
	defer d.Unlock()
	err := d.run(whenReady, d.try, p)
	return d.n, err
}

// run calls try, again after each wait, until it reports that it is done. The lock is
// held.
func (d *direction) run(whenReady func(func(uintptr) bool) error, try func(uintptr) bool, p []byte) error {
	d.pending, d.n, d.errno = p, 0, 0
	err := whenReady(try)
	d.pending = nil
	if d.errno != 0 {
		return d.errno
	}
	return err
}

// netError gives an error the form that it has in package net: a *net.OpError with both
// addresses. Nil and io.EOF stay as they are.
func (s *socket) netError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	var errno syscall.Errno
	var opErr *net.OpError
	switch {
	case errors.As(err, &errno):
		err = os.NewSyscallError(op, errno)
	case errors.As(err, &opErr):
		err = opErr.Err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

// Peek checks, without reading or waiting, whether a socket has something to read. It
// returns nil if there are bytes or the stream has ended, syscall.EAGAIN if there is
// nothing, and any other error if the connection is broken.
func Peek(fd uintptr) error {
	var b [1]byte
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
