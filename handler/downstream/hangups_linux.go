package downstream

import (
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/reqctx"
)

// Hangups ends the contexts of connections whose clients have closed them. The kernel
// reports that through epoll, which costs nothing while clients stay; net/http instead
// keeps a goroutine per connection that tries to read from it.
type Hangups struct {
	epoll *os.File
	raw   syscall.RawConn

	mu   sync.Mutex
	last uint64           // the id given last
	all  map[uint64]*Conn // the watched connections, by hangupID
}

// NewHangups starts to watch for hang-ups, until Close. It returns nil where the system
// does not report them; all methods may be called on nil.
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
	// A file that cannot have a deadline is not in the epoll set of Go's runtime, and
	// run would never be woken.
	if d.raw, err = d.epoll.SyscallConn(); err != nil || d.epoll.SetReadDeadline(time.Time{}) != nil {
		d.epoll.Close()
		return nil
	}
	go d.run()
	return d
}

// watch gives the connection a context that ends when the client leaves. It reports
// whether the kernel watches the connection now.
func (d *Hangups) watch(c *Conn) bool {
	if d == nil {
		return false
	}
	raw, err := c.TCPConn.SyscallConn()
	if err != nil {
		return false
	}
	c.ctx = &reqctx.Conn{Owner: c}
	d.mu.Lock()
	d.last++
	c.hangupID = d.last
	d.all[c.hangupID] = c
	d.mu.Unlock()
	event := syscall.EpollEvent{Fd: int32(c.hangupID), Pad: int32(c.hangupID >> 32)}
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

// edgeTriggered is syscall.EPOLLET as an unsigned number; there it is negative.
const edgeTriggered = 1 << 31

// forget stops watching the connection. The kernel removes it from the epoll set when it
// is closed.
func (d *Hangups) forget(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.all, c.hangupID)
}

// each calls f for every connection that is watched, with the lock held.
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

// run ends the contexts of connections whose clients have left, until Close.
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
				c.ctx.End()
			}
		}
	}
}

// Close stops watching. The contexts that have not ended no longer end by themselves.
func (d *Hangups) Close() {
	if d != nil {
		d.epoll.Close()
	}
}
