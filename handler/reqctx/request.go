package reqctx

import (
	"context"
	"slices"
	"sync"
)

// Request is the context of one exchange. It is cancelled when the client leaves, when
// somebody calls Cancel, or when the exchange has ended. It does what
// context.WithCancelCause and, for one function at a time, context.AfterFunc do, but in
// one piece of memory: most exchanges end without having needed either. It must not be
// copied after Begin.
type Request struct {
	context.Context             // the client's connection
	stopAfterFunc   func() bool // stops watching Context; nil: a Conn cancels this

	mu         sync.Mutex
	cause      error         // nil: not cancelled
	done       chan struct{} // made by the first call of Done
	onCancel   func()        // called by Cancel, with the lock held
	afterFuncs []*func()     // called after Cancel, each in its own goroutine
}

// Begin makes r a child of the client's context, which is a [Conn] or one of net/http's.
// Finish must be called at the end.
func (r *Request) Begin(client context.Context) {
	r.Context = client
	if c, ok := client.(*Conn); ok {
		c.setRunning(r)
		return
	}
	r.stopAfterFunc = context.AfterFunc(client, r.clientLeft)
}

func (r *Request) clientLeft() { r.Cancel(r.Context.Err()) }

// Finish cancels the request, unless it has been cancelled, and detaches it from the
// client's context. The cause is context.Canceled.
func (r *Request) Finish() {
	if c, ok := r.Context.(*Conn); ok {
		c.setRunning(nil)
	} else {
		r.stopAfterFunc()
	}
	r.Cancel(context.Canceled)
}

// Cancel cancels the request for the given cause, which must not be nil. Only the first
// call does anything.
func (r *Request) Cancel(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		return
	}
	r.cause = cause
	if r.done != nil {
		close(r.done)
	}
	if r.onCancel != nil {
		r.onCancel()
	}
	for _, f := range r.afterFuncs {
		go (*f)()
	}
	r.afterFuncs = nil
}

// OnCancel has onCancel called when the request is cancelled, in place of the function
// given before; if it has been cancelled already, at once. The function must not block
// and must not use the Request.
func (r *Request) OnCancel(onCancel func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		onCancel()
		return
	}
	r.onCancel = onCancel
}

// StopOnCancel withdraws the function given to OnCancel. It reports whether the request
// has not been cancelled; then the function has not been called and will not be.
func (r *Request) StopOnCancel() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onCancel = nil
	return r.cause == nil
}

// AfterFunc has f called in its own goroutine after the request is cancelled. Package
// context looks for this method on a parent context; without it, it would start a
// goroutine for each derived context, such as that of each connection that is dialed.
// stop withdraws f and reports whether it has done so before f was called.
func (r *Request) AfterFunc(f func()) (stop func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		go f()
		return func() bool { return false }
	}
	r.afterFuncs = append(r.afterFuncs, &f)
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		before := len(r.afterFuncs)
		r.afterFuncs = slices.DeleteFunc(r.afterFuncs, func(g *func()) bool { return g == &f })
		return len(r.afterFuncs) < before
	}
}

// Cause returns why the request was cancelled; nil if it was not.
func (r *Request) Cause() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause
}

// Done implements context.Context.
func (r *Request) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done = make(chan struct{})
		if r.cause != nil {
			close(r.done)
		}
	}
	return r.done
}

// Err implements context.Context: after Cancel it returns context.Canceled, whatever the
// cause.
func (r *Request) Err() error {
	if r.Cause() != nil {
		return context.Canceled
	}
	return nil
}
