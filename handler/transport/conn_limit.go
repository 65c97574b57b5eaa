package transport

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// ConnLimitTimeout is the default time that a request waits for a connection when the
// limit is reached.
const ConnLimitTimeout = 2 * time.Second

// ErrNoConnection is returned by RoundTrip if the limit of connections is reached, or
// the process has no file descriptors left. It is no fault of Ollama's.
var ErrNoConnection = errors.New("too many requests in flight")

// ConnLimit bounds the connections to several Ollamas together. A bound on requests does
// not bound file descriptors: one request may need a connection to each Ollama, and idle
// connections count, too. The zero ConnLimit has no bound. It is safe for concurrent use
// once SetMax has been called.
type ConnLimit struct {
	InUse     chan struct{} // holds an element for each connection, idle ones included; nil: no bound
	waiting   atomic.Int32  // requests that wait for a connection
	Timeout   time.Duration // how long a request waits
	CloseIdle func()        // closes the connections that no request uses
}

// SetMax sets the bound to n connections, or leaves it if it is lower already. It must
// be called before the first connection is opened.
func (l *ConnLimit) SetMax(n int) {
	if l.InUse == nil || n < cap(l.InUse) {
		l.InUse = make(chan struct{}, n)
	}
}

// take waits for permission to open a connection. If there is none within the timeout,
// take returns [ErrNoConnection]; if the context is cancelled first, the cause.
func (l *ConnLimit) take(ctx context.Context) error {
	if l == nil || l.InUse == nil {
		return nil
	}
	select {
	case l.InUse <- struct{}{}:
		return nil
	default:
	}
	l.waiting.Add(1) // from here on no connection becomes idle
	defer l.waiting.Add(-1)
	l.CloseIdle()
	timer := time.NewTimer(l.Timeout)
	defer timer.Stop()
	select {
	case l.InUse <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return ErrNoConnection
	}
}

// release is called when a connection has been closed.
func (l *ConnLimit) release() {
	if l != nil && l.InUse != nil {
		<-l.InUse
	}
}

// hasWaiters reports whether a request waits for a connection.
func (l *ConnLimit) hasWaiters() bool { return l != nil && l.waiting.Load() > 0 }
