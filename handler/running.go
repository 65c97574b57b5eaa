package handler

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

var (
	errDraining = errors.New("shutting down")
	errOverload = errors.New("too many requests in flight")
)

// running is the set of exchanges in flight. The zero running is empty and
// lets everything in.
type running struct {
	max int // 0: no bound

	mu       sync.Mutex
	set      map[*exchange]struct{}
	draining bool
	empty    chan struct{} // closed when draining and none is left
}

// enter adds x. If the proxy is draining it returns errDraining, if there are
// max exchanges already, errOverload.
func (s *running) enter(x *exchange) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return errDraining
	case s.max > 0 && len(s.set) >= s.max:
		return errOverload
	case s.set == nil:
		s.set = map[*exchange]struct{}{}
	}
	s.set[x] = struct{}{}
	return nil
}

func (s *running) leave(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, x)
	if s.draining && len(s.set) == 0 {
		close(s.empty)
	}
}

// drain lets nothing more in, and returns a channel that is closed once
// everything in flight is over.
func (s *running) drain() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		s.draining, s.empty = true, make(chan struct{})
		if len(s.set) == 0 {
			close(s.empty)
		}
	}
	return s.empty
}

func (s *running) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

// cut ends every exchange in flight.
func (s *running) cut(cause error) {
	for _, x := range s.all() {
		x.end(cause)
	}
}

// all lists the exchanges in flight. Those that are over in the meantime cannot
// be cut any more.
func (s *running) all() []*exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.set))
}
