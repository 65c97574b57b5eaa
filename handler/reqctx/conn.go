package reqctx

import (
	"context"
	"sync"
	"time"
)

// Conn is the parent context of all requests on one connection. It is cancelled when the
// client leaves, that is when it closes the connection or its sending half. The zero
// value is ready to use.
type Conn struct {
	Owner any // what [OwnerOf] returns: the connection

	mu      sync.Mutex
	ended   bool          // End has been called
	done    chan struct{} // made by the first call of Done
	running *Request      // cancelled by End; nil: no request is being served
}

// End cancels the connection's context and the request that is being served, with
// context.Canceled. Only the first call does anything.
func (c *Conn) End() {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended = true
	if c.done != nil {
		close(c.done)
	}
	r := c.running
	c.mu.Unlock()
	if r != nil {
		r.Cancel(context.Canceled)
	}
}

// setRunning names the request that End cancels, or nil for none. If End has been called
// already, setRunning cancels it at once.
func (c *Conn) setRunning(r *Request) {
	c.mu.Lock()
	c.running = r
	ended := c.ended
	c.mu.Unlock()
	if ended && r != nil {
		r.Cancel(context.Canceled)
	}
}

// Deadline implements context.Context: there is none.
func (c *Conn) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (c *Conn) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended {
			close(c.done)
		}
	}
	return c.done
}

// Err implements context.Context.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return context.Canceled
	}
	return nil
}

// Value implements context.Context: it returns the Owner to [OwnerOf].
func (c *Conn) Value(key any) any {
	if key == (connKey{}) {
		return c.Owner
	}
	return nil
}

// connKey is the key of a connection in a context.
type connKey struct{}

// WithOwner returns a context from which [OwnerOf] gets conn, for the connections that
// net/http serves.
func WithOwner(ctx context.Context, conn any) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// OwnerOf returns the connection of the request that has the context, or nil if the
// context has none.
func OwnerOf(ctx context.Context) any { return ctx.Value(connKey{}) }
