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
	mu        sync.Mutex
	now, next *probe // the one that is running, and the one that will follow it
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
	var mine *probe
	switch {
	case s.now == nil:
		mine = &probe{ask: ask, done: make(chan struct{})}
		s.begin(mine, limit)
	case s.next == nil:
		mine = &probe{ask: ask, done: make(chan struct{})}
		s.next = mine
	default:
		mine = s.next
	}
	mine.waiting++
	s.mu.Unlock()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	mine.waiting--
	if mine.waiting == 0 && mine.stop != nil {
		mine.stop()
	}
	return ctx.Err()
}

// begin runs one. The lock is held.
func (s *sharedProbe) begin(p *probe, limit time.Duration) {
	var ctx context.Context
	ctx, p.stop = context.WithTimeout(context.Background(), limit)
	s.now = p
	go func() {
		p.err = p.ask(ctx)
		close(p.done)
		s.mu.Lock()
		defer s.mu.Unlock()
		p.stop()
		next := s.next
		s.now, s.next = nil, nil
		if next != nil && next.waiting > 0 {
			s.begin(next, limit)
		}
	}()
}
