package handler

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// ErrDraining is why new requests are refused once [Proxy.Drain] has been called.
var ErrDraining = errors.New("shutting down")

var errOverload = errors.New("too many requests in flight")

// running is the set of exchanges in flight. The zero running is empty and has no limit.
type running struct {
	max           int           // 0: no limit
	checkInterval time.Duration // of the watchdogs; 0: they are never checked
	leaving       atomic.Bool   // the proxy is about to drain

	mu       sync.Mutex
	first    *exchange // of a list linked by next and previous
	count    int
	entered  uint64 // exchanges since the start
	checking bool   // a timer will call endOverdue
	draining bool
	empty    chan struct{} // closed once draining is true and count is 0
}

// enter adds x. It returns ErrDraining if the proxy is draining, and errOverload if max
// exchanges are in flight already or too many connections carry requests.
func (s *running) enter(x *exchange) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return ErrDraining
	case x.overConnLimit, s.max > 0 && s.count >= s.max:
		return errOverload
	}
	if x.next = s.first; x.next != nil {
		x.next.previous = x
	}
	s.first = x
	s.count++
	s.entered++
	x.number = s.entered
	if !s.checking && s.checkInterval > 0 {
		s.checking = true
		time.AfterFunc(s.checkInterval, s.endOverdue)
	}
	return nil
}

// len returns how many exchanges are in flight.
func (s *running) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// leave removes x.
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

// drain makes enter refuse every exchange from now on, and returns a channel that is
// closed once no exchange is in flight.
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

// endOverdue cuts the exchanges that have made no progress for too long, and calls itself
// again after an interval while any are in flight.
func (s *running) endOverdue() {
	now := time.Now()
	for _, x := range s.matching(func(x *exchange) bool { return x.watchdog.overdue(now.Sub(x.arrived)) != nil }) {
		if cause := x.watchdog.overdue(time.Since(x.arrived)); cause != nil {
			x.cut(cause)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checking = s.count > 0; s.checking {
		time.AfterFunc(s.checkInterval, s.endOverdue)
	}
}

// cut ends every exchange in flight.
func (s *running) cut(cause error) {
	for _, x := range s.all() {
		x.cut(cause)
	}
}

// all returns the exchanges in flight, the newest first. Cutting one that has ended in
// the meantime has no effect.
func (s *running) all() []*exchange {
	return s.matching(func(*exchange) bool { return true })
}

// matching returns the exchanges in flight for which match returns true.
func (s *running) matching(match func(*exchange) bool) (found []*exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := s.first; x != nil; x = x.next {
		if match(x) {
			found = append(found, x)
		}
	}
	return found
}
