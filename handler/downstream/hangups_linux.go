package downstream

import (
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/reqctx"
)

// Hangups learns from the kernel which clients have left: that takes nothing
// while they stay. net/http has a goroutine for each that tries to read from it.
type Hangups struct {
	epoll *os.File
	raw   syscall.RawConn

	mu   sync.Mutex
	last uint64
	all  map[uint64]*Conn
}

// NewHangups returns nil where there can be none.
func NewHangups() *Hangups {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	if syscall.SetNonblock(fd, true) != nil {
		syscall.Close(fd)
		return nil
	}
	d := &Hangups{epoll: os.NewFile(uintptr(fd), "epoll"), all: map[uint64]*Conn{}}
	// What cannot have a deadline Go's own epoll does not take, and then nobody
	// would ever hear of those who leave.
	if d.raw, err = d.epoll.SyscallConn(); err != nil || d.epoll.SetReadDeadline(time.Time{}) != nil {
		d.epoll.Close()
		return nil
	}
	go d.run()
	return d
}

// watch gives the client a context, and reports whether it could.
func (d *Hangups) watch(c *Conn) bool {
	if d == nil {
		return false
	}
	raw, err := c.TCPConn.SyscallConn()
	if err != nil {
		return false
	}
	c.departure = &reqctx.Conn{Owner: c}
	d.mu.Lock()
	d.last++
	c.id = d.last
	d.all[c.id] = c
	d.mu.Unlock()
	event := syscall.EpollEvent{Fd: int32(c.id), Pad: int32(c.id >> 32)}
	event.Events = syscall.EPOLLRDHUP | edgeTriggered
	control := d.raw.Control
	err = syscall.EBADF
	raw.Control(func(fd uintptr) {
		control(func(epoll uintptr) {
			err = syscall.EpollCtl(int(epoll), syscall.EPOLL_CTL_ADD, int(fd), &event)
		})
	})
	if err != nil {
		d.forget(c)
		return false
	}
	return true
}

// edgeTriggered is syscall.EPOLLET, which has a sign there.
const edgeTriggered = 1 << 31

// forget takes a client's context back. The kernel forgets it when the
// connection is closed.
func (d *Hangups) forget(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.all, c.id)
}

// each calls f for every client that is watched.
func (d *Hangups) each(f func(*Conn)) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.all {
		f(c)
	}
}

// run tells those who have left, until close.
func (d *Hangups) run() {
	var events [64]syscall.EpollEvent
	for {
		n := 0
		err := d.raw.Read(func(epoll uintptr) bool {
			for again := true; again; {
				var err error
				n, err = syscall.EpollWait(int(epoll), events[:], 0)
				again = err == syscall.EINTR
			}
			return n > 0
		})
		if err != nil {
			return
		}
		for _, event := range events[:n] {
			d.mu.Lock()
			c := d.all[uint64(uint32(event.Fd))|uint64(uint32(event.Pad))<<32]
			d.mu.Unlock()
			if c != nil {
				c.departure.End()
			}
		}
	}
}

// Close ends run.
func (d *Hangups) Close() {
	if d != nil {
		d.epoll.Close()
	}
}
