package upstream

import (
	"context"
	"sync"
	"time"
)

// sharedProbe lets many wait for one probe. Each waits for one that began after it
// asked, and so sees what was there then: of those that ask while one is running,
// all wait for the next. However many they are, there is one at a time, and one
// more to come. One that nobody waits for any more is ended.
type sharedProbe struct {
	mu            sync.Mutex
	running, next *probe // the one that is running, and the one that will follow it
}

// probe is a question to Ollama that several wait for.
type probe struct {
	ask     func(context.Context) error
	waiting int           // how many; the lock is held
	stop    func()        // once it is running
	done    chan struct{} // closed at its end
	err     error         // what came of it; to be read after its end
}

// wait has ask called, at the latest when a call that is going on has returned, and
// returns what it returns. The context that ask gets ends after limit. If ctx ends
// first, wait returns its error.
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

// begin runs one. The lock is held.
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
