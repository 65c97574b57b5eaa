package transport

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// SlotPatience is how long a request waits until there may be one connection more.
const SlotPatience = 2 * time.Second

// ErrNoConnection says that there may be no further connection for now.
var ErrNoConnection = errors.New("too many requests in flight")

// ConnLimit bounds the connections that there are to several Ollamas together. One
// request may need as many as there are Ollamas, and those that idle count, too:
// the bound of requests alone does not see to it that there are descriptors for
// all. The zero slots is without bound.
type ConnLimit struct {
	Taken    chan struct{}
	waiting  atomic.Int32
	Patience time.Duration
	Spare    func() // closes the connections that no request uses
}

// Bound lets there be n, or fewer if that was said before. It is called before
// there are any.
func (s *ConnLimit) Bound(n int) {
	if s.Taken == nil || n < cap(s.Taken) {
		s.Taken = make(chan struct{}, n)
	}
}

// take waits for one. If there is none for its patience it returns errNoSlot, and
// if the context ends, why that is.
func (s *ConnLimit) take(ctx context.Context) error {
	if s == nil || s.Taken == nil {
		return nil
	}
	select {
	case s.Taken <- struct{}{}:
		return nil
	default:
	}
	s.waiting.Add(1) // from here on nobody keeps one for later
	defer s.waiting.Add(-1)
	s.Spare()
	timer := time.NewTimer(s.Patience)
	defer timer.Stop()
	select {
	case s.Taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return ErrNoConnection
	}
}

func (s *ConnLimit) release() {
	if s != nil && s.Taken != nil {
		<-s.Taken
	}
}

// hasWaiters reports whether somebody waits for one.
func (s *ConnLimit) hasWaiters() bool { return s != nil && s.waiting.Load() > 0 }
