package reqctx

import (
	"context"
	"slices"
	"sync"
)

// Request is the context of an exchange. It ends when the client leaves, or
// when the exchange is cut or over. It does what context.WithCancelCause does
// and, for one function at a time, context.AfterFunc, but in one piece: most
// exchanges come to their end without having needed either.
type Request struct {
	context.Context // the client's
	unwatch         func() bool

	mu    sync.Mutex
	cause error         // why it ended; nil while it goes on
	done  chan struct{} // nil until somebody asks
	abort func()        // to be called at the end, with the lock held
	after []*func()     // to be called after it, in goroutines of their own
}

func (l *Request) Begin(client context.Context) {
	l.Context = client
	if d, ok := client.(*Conn); ok {
		d.carry(l)
		return
	}
	l.unwatch = context.AfterFunc(client, l.left)
}

func (l *Request) left() { l.Cancel(l.Context.Err()) }

// Finish ends it where nothing else has.
func (l *Request) Finish() {
	if d, ok := l.Context.(*Conn); ok {
		d.carry(nil)
	} else {
		l.unwatch()
	}
	l.Cancel(context.Canceled)
}

// Cancel ends it for the given cause. Only the first end counts.
func (l *Request) Cancel(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return
	}
	l.cause = cause
	if l.done != nil {
		close(l.done)
	}
	if l.abort != nil {
		l.abort()
	}
	for _, f := range l.after {
		go (*f)()
	}
	l.after = nil
}

// OnCancel has abort called at the end, at once if that is past, in place of who was
// to be called before.
func (l *Request) OnCancel(abort func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		abort()
		return
	}
	l.abort = abort
}

// StopOnCancel takes back atEnd. It reports whether the end is still to come; abort
// will then not be called.
func (l *Request) StopOnCancel() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.abort = nil
	return l.cause == nil
}

// AfterFunc is what package context looks for where a context is made from this
// one. Otherwise it would have a goroutine wait for each, as for each connection
// that is dialed.
func (l *Request) AfterFunc(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		go f()
		return func() bool { return false }
	}
	l.after = append(l.after, &f)
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		before := len(l.after)
		l.after = slices.DeleteFunc(l.after, func(g *func()) bool { return g == &f })
		return len(l.after) < before
	}
}

// Cause is why it ended; nil while it goes on.
func (l *Request) Cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// Done implements context.Context.
func (l *Request) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.cause != nil {
			close(l.done)
		}
	}
	return l.done
}

// Err implements context.Context.
func (l *Request) Err() error {
	if l.Cause() != nil {
		return context.Canceled
	}
	return nil
}
