package handler

import (
	"net"
	"net/http"
	"sync"
)

// spareFiles is how many open files are kept from clients: listeners, reloads,
// who asks for metrics, and Ollama being looked after need some.
const spareFiles = 32

// room is a listener that accepts no more connections than there are files for.
// The next ones wait in the kernel's queue. Without it a stranger who only
// opens connections would take what it takes to answer the others, to learn of
// revoked keys, and to tell a supervisor that all is well.
type room struct {
	net.Listener
	free   chan struct{} // takes one for each connection that is open
	full   func()        // called when somebody has to wait
	closed chan struct{}
	close  func() error
}

func newRoom(l net.Listener, n int, full func()) *room {
	r := &room{Listener: l, free: make(chan struct{}, n), full: full, closed: make(chan struct{})}
	r.close = sync.OnceValue(func() error {
		close(r.closed)
		return l.Close()
	})
	return r
}

// clientsFor is how many connections of clients there is room for: each may need
// one to Ollama.
func clientsFor(files uint64) int {
	return int(max(1, (min(files, 1<<20)-min(files, spareFiles))/2))
}

func (r *room) Accept() (net.Conn, error) {
	select {
	case r.free <- struct{}{}:
	default:
		r.full()
		select {
		case r.free <- struct{}{}:
		case <-r.closed:
			return nil, net.ErrClosed
		}
	}
	c, err := r.Listener.Accept()
	if err != nil {
		<-r.free
		return nil, err
	}
	return newSocket(c), nil
}

// look is the server's ConnState: it makes room when a connection is over. A
// connection that saw to that itself would have to do all that the server may
// ask of one of TCP.
func (r *room) look(_ net.Conn, s http.ConnState) {
	if s == http.StateClosed || s == http.StateHijacked {
		<-r.free
	}
}

func (r *room) Close() error { return r.close() }
