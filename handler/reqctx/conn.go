package reqctx

import (
	"context"
	"sync"
	"time"
)

// Conn is the context of all requests of a connection: it ends when the
// client leaves, whether by closing the connection or its own half of it.
type Conn struct {
	Owner any // the connection, for whoever asks the context for it

	mu      sync.Mutex
	left    bool
	done    chan struct{} // nil until somebody asks
	running *Request      // of the request that is being served; it ends with this
}

// End ends it.
func (d *Conn) End() {
	d.mu.Lock()
	if d.left {
		d.mu.Unlock()
		return
	}
	d.left = true
	if d.done != nil {
		close(d.done)
	}
	l := d.running
	d.mu.Unlock()
	if l != nil {
		l.Cancel(context.Canceled)
	}
}

// carry has the request end with the connection, until the next call, which may
// be with nil.
func (d *Conn) carry(l *Request) {
	d.mu.Lock()
	d.running = l
	left := d.left
	d.mu.Unlock()
	if left && l != nil {
		l.Cancel(context.Canceled)
	}
}

// Deadline implements context.Context.
func (d *Conn) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (d *Conn) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == nil {
		d.done = make(chan struct{})
		if d.left {
			close(d.done)
		}
	}
	return d.done
}

// Err implements context.Context.
func (d *Conn) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left {
		return context.Canceled
	}
	return nil
}

// Value implements context.Context.
func (d *Conn) Value(key any) any {
	if key == (connKey{}) {
		return d.Owner
	}
	return nil
}

type connKey struct{}

// WithOwner returns a context that knows the connection of its request.
func WithOwner(ctx context.Context, conn any) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// OwnerOf is the connection of the context's request; nil if it knows none.
func OwnerOf(ctx context.Context) any { return ctx.Value(connKey{}) }
