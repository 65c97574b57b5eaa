package handler

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// slotPatience is how long a request waits until there may be one connection more.
const slotPatience = 2 * time.Second

// errNoSlot says that there may be no further connection for now.
var errNoSlot = errors.New("too many requests in flight")

// slots bounds the connections that there are to several Ollamas together. One
// request may need as many as there are Ollamas, and those that idle count, too:
// the bound of requests alone does not see to it that there are descriptors for
// all. The zero slots is without bound.
type slots struct {
	taken    chan struct{}
	waiting  atomic.Int32
	patience time.Duration
	spare    func() // closes the connections that no request uses
}

// bound lets there be n, or fewer if that was said before. It is called before
// there are any.
func (s *slots) bound(n int) {
	if s.taken == nil || n < cap(s.taken) {
		s.taken = make(chan struct{}, n)
	}
}

// take waits for one. If there is none for its patience it returns errNoSlot, and
// if the context ends, why that is.
func (s *slots) take(ctx context.Context) error {
	if s == nil || s.taken == nil {
		return nil
	}
	select {
	case s.taken <- struct{}{}:
		return nil
	default:
	}
	s.waiting.Add(1) // from here on nobody keeps one for later
	defer s.waiting.Add(-1)
	s.spare()
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case s.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return errNoSlot
	}
}

func (s *slots) giveBack() {
	if s != nil && s.taken != nil {
		<-s.taken
	}
}

// wanted reports whether somebody waits for one.
func (s *slots) wanted() bool { return s != nil && s.waiting.Load() > 0 }
