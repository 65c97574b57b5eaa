package handler

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

var (
	ErrDraining = errors.New("shutting down")
	errOverload = errors.New("too many requests in flight")
)

// running is the set of exchanges in flight. The zero running is empty and
// lets everything in.
type running struct {
	max     int           // 0: no bound
	look    time.Duration // how often to look for those that are overdue; 0: never
	leaving atomic.Bool   // the proxy is about to drain

	mu       sync.Mutex
	first    *exchange // of a list through next and previous
	count    int
	entered  uint64 // since the start
	looking  bool   // a timer runs
	draining bool
	empty    chan struct{} // closed when draining and none is left
}

// enter adds x. If the proxy is draining it returns errDraining, if there are
// max exchanges already, or x is on one connection too many, errOverload.
func (s *running) enter(x *exchange) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return ErrDraining
	case x.crowded, s.max > 0 && s.count >= s.max:
		return errOverload
	}
	if x.next = s.first; x.next != nil {
		x.next.previous = x
	}
	s.first = x
	s.count++
	s.entered++
	x.number = s.entered
	if !s.looking && s.look > 0 {
		s.looking = true
		time.AfterFunc(s.look, s.endOverdue)
	}
	return nil
}

// len is how many exchanges are in flight.
func (s *running) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func (s *running) leave(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.next != nil {
		x.next.previous = x.previous
	}
	if x.previous != nil {
		x.previous.next = x.next
	} else {
		s.first = x.next
	}
	s.count--
	if s.draining && s.count == 0 {
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
		if s.count == 0 {
			close(s.empty)
		}
	}
	return s.empty
}

// endOverdue ends those in which nothing has happened for too long, and looks
// again later if there are others.
func (s *running) endOverdue() {
	now := time.Now()
	for _, x := range s.those(func(x *exchange) bool { return x.dog.overdue(now.Sub(x.arrived)) != nil }) {
		if cause := x.dog.overdue(time.Since(x.arrived)); cause != nil {
			x.end(cause)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looking = s.count > 0; s.looking {
		time.AfterFunc(s.look, s.endOverdue)
	}
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
	return s.those(func(*exchange) bool { return true })
}

// those lists the exchanges in flight that are so.
func (s *running) those(so func(*exchange) bool) (found []*exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := s.first; x != nil; x = x.next {
		if so(x) {
			found = append(found, x)
		}
	}
	return found
}
