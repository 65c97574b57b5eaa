package upstream

import (
	"context"
	"sync"
	"time"
)

// sharedProbe lets many requests wait for one probe. Each waits for a probe that began
// after it asked, so that the result is not older than the request: requests that ask
// while a probe is running all wait for the next one. So at most one probe is running
// and one is waiting to run, however many requests there are. A probe that nobody waits
// for any more is cancelled.
type sharedProbe struct {
	mu            sync.Mutex
	running, next *probe // the one that is running, and the one after it; nil: none
}

// probe is one call of ask that several requests wait for.
type probe struct {
	ask     func(context.Context) error
	waiting int           // requests; guarded by the lock
	stop    func()        // cancels it; nil: it is not running yet
	done    chan struct{} // closed at the end
	err     error         // the result; final once done is closed
}

// wait returns the result of a probe that begins after the call. ask is called with a
// context that ends after limit, or when nobody waits any more. If ctx ends first, wait
// returns its error.
func (s *sharedProbe) wait(ctx context.Context, limit time.Duration, ask func(context.Context) error) error {
	s.mu.Lock()
	var own *probe
	switch {
	case s.running == nil:
		own = &probe{ask: ask, done: make(chan struct{})}
		s.begin(own, limit)
	case s.next == nil:
		own = &probe{ask: ask, done: make(chan struct{})}
		s.next = own
	default:
		own = s.next
	}
	own.waiting++
	s.mu.Unlock()
	select {
	case <-own.done:
		return own.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	own.waiting--
	if own.waiting == 0 && own.stop != nil {
		own.stop()
	}
	return ctx.Err()
}

// begin runs a probe in the background. The lock is held.
func (s *sharedProbe) begin(p *probe, limit time.Duration) {
	var ctx context.Context
	ctx, p.stop = context.WithTimeout(context.Background(), limit)
	s.running = p
	go func() {
		p.err = p.ask(ctx)
		close(p.done)
		s.mu.Lock()
		defer s.mu.Unlock()
		p.stop()
		next := s.next
		s.running, s.next = nil, nil
		if next != nil && next.waiting > 0 {
			s.begin(next, limit)
		}
	}()
}
