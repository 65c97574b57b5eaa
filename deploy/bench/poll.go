//go:build linux

package main

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// poller wakes goroutines whose sockets are ready, as Go's own does, but it
// does not sleep while there is load. A process that sleeps has to be woken by
// whoever sends to it: that would cost a proxy several microseconds a write, and
// only the slow ones, for which the load has time to fall asleep. It also makes
// time.Sleep precise to microseconds, which counts milliseconds otherwise.
//
// When nothing has been ready for some milliseconds it naps again and again, and
// wakes by itself. Otherwise it would starve, at a high priority, those for whom
// everybody waits then, such as the kernel's threads.
type poller struct {
	fd      int
	mu      sync.Mutex
	sockets []*socket // by descriptor
}

const (
	// napAfter is how long nothing has to have been ready: more than there ever
	// is between two events of a load.
	napAfter = 5 * time.Millisecond

	// nap is how long the poller then sleeps at a time.
	nap = 100 * time.Microsecond
)

var (
	errTimeout   = errors.New("timeout")
	errCancelled = errors.New("cancelled")
)

func startPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create", err)
	}
	p := &poller{fd: fd}
	go p.run()
	return p, nil
}

func (p *poller) run() {
	events := make([]syscall.EpollEvent, 256)
	var looked time.Duration // for deadlines that have passed
	var busy time.Duration   // when something was last ready
	for {
		n, _ := atOnce(syscall.SYS_EPOLL_PWAIT, p.fd, unsafe.Pointer(&events[0]), len(events))
		p.mu.Lock()
		for _, event := range events[:n] {
			if s := p.sockets[event.Fd]; s != nil {
				s.wake()
			}
		}
		now := time.Since(start)
		if n > 0 {
			busy = now
		}
		if now-looked > 100*time.Millisecond {
			looked = now
			for _, s := range p.sockets {
				if s != nil && s.deadline != 0 && s.deadline < now {
					s.expired.Store(true)
					s.wake()
				}
			}
		}
		p.mu.Unlock()
		if now-busy > napAfter {
			pause := syscall.NsecToTimespec(int64(nap))
			syscall.Nanosleep(&pause, nil) // not time.Sleep, which counts milliseconds where nobody polls
		} else {
			runtime.Gosched()
		}
	}
}

// atOnce makes a system call that does not wait for anything, so that Go's
// scheduler need not be told of it.
func atOnce(call uintptr, fd int, at unsafe.Pointer, length int) (int, error) {
	n, _, errno := syscall.RawSyscall6(call, uintptr(fd), uintptr(at), uintptr(length), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// add makes the descriptor a socket. It is ready, or will be.
func (p *poller) add(fd int) (*socket, error) {
	s := &socket{poller: p, fd: fd, ready: make(chan struct{}, 1)}
	p.mu.Lock()
	for len(p.sockets) <= fd {
		p.sockets = append(p.sockets, nil)
	}
	p.sockets[fd] = s
	p.mu.Unlock()
	const edges = 1 << 31 // EPOLLET, which package syscall has as a negative number
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | edges, Fd: int32(fd)}
	if err := syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
		s.Close()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return s, nil
}

// listen listens on a free local port.
func (p *poller) listen() (*socket, string, error) {
	fd, err := newTCP()
	if err != nil {
		return nil, "", err
	}
	err = errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 4096))
	if err != nil {
		syscall.Close(fd)
		return nil, "", err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		syscall.Close(fd)
		return nil, "", err
	}
	s, err := p.add(fd)
	return s, "127.0.0.1:" + strconv.Itoa(name.(*syscall.SockaddrInet4).Port), err
}

// dial connects to a local port. All that happens on the connection must do so
// within the time, and before cancelled is closed.
func (p *poller) dial(port int, within time.Duration, cancelled <-chan struct{}) (*socket, error) {
	fd, err := newTCP()
	if err != nil {
		return nil, err
	}
	err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err != nil && err != syscall.EINPROGRESS {
		syscall.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	s, err := p.add(fd)
	if err != nil {
		return nil, err
	}
	s.cancelled = cancelled
	p.mu.Lock()
	s.deadline = time.Since(start) + within
	p.mu.Unlock()
	if err := s.wait(); err != nil {
		s.Close()
		return nil, err
	}
	if n, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR); err != nil || n != 0 {
		s.Close()
		return nil, os.NewSyscallError("connect", errors.Join(err, syscall.Errno(n)))
	}
	return s, nil
}

func newTCP() (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	return fd, os.NewSyscallError("setsockopt", syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1))
}

// socket is a connection or a listener. One goroutine uses it at a time.
type socket struct {
	poller    *poller
	fd        int
	ready     chan struct{}
	cancelled <-chan struct{}
	deadline  time.Duration // since the start; 0: none
	expired   atomic.Bool
}

func (s *socket) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// wait waits until something has happened since it last returned.
func (s *socket) wait() error {
	select {
	case <-s.ready:
		if s.expired.Load() {
			return errTimeout
		}
		return nil
	case <-s.cancelled:
		return errCancelled
	}
}

// again calls until the call need not wait.
func (s *socket) again(name string, call func() (int, error)) (int, error) {
	for {
		n, err := call()
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			if err := s.wait(); err != nil {
				return 0, err
			}
		default:
			return 0, os.NewSyscallError(name, err)
		}
	}
}

func (s *socket) accept() (*socket, error) {
	fd, err := s.again("accept", func() (int, error) {
		fd, _, err := syscall.Accept4(s.fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		return fd, err
	})
	if err != nil {
		return nil, err
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		syscall.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return s.poller.add(fd)
}

// Read fills at least a byte of b, which has room for one.
func (s *socket) Read(b []byte) (int, error) {
	n, err := s.again("read", func() (int, error) { return atOnce(syscall.SYS_READ, s.fd, unsafe.Pointer(&b[0]), len(b)) })
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

func (s *socket) Write(b []byte) (total int, err error) {
	for total < len(b) {
		n, err := s.again("write", func() (int, error) { return atOnce(syscall.SYS_WRITE, s.fd, unsafe.Pointer(&b[total]), len(b)-total) })
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

func (s *socket) Close() error {
	s.poller.mu.Lock()
	defer s.poller.mu.Unlock()
	if s.fd < 0 {
		return nil
	}
	s.poller.sockets[s.fd] = nil
	err := syscall.Close(s.fd)
	s.fd = -1
	return err
}
