package handlertest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

// Event is one call of a method of a Recorder. The fields hold its arguments; those that it
// does not have are zero.
type Event struct {
	Route string
	Key   int
	Text  string // reason, outcome, kind or HTTP method
	N     int    // bytes, code or upstream
	Took  time.Duration
}

// Spy is a Recorder that records every call. An event's name is that of the method.
type Spy struct {
	mu     sync.Mutex
	events map[string][]Event // by method
	grown  chan struct{}      // closed by the next event; nil if no one waits
	names  []string           // of the routes
}

// NewSpy returns a Spy without events.
func NewSpy() *Spy { return &Spy{events: map[string][]Event{}, names: api.RouteNames()} }

func (s *Spy) record(what string, e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events[what] = append(s.events[what], e)
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
}

func (s *Spy) name(route int) string {
	if route < 0 || route >= len(s.names) {
		return fmt.Sprintf("route %d of %d", route, len(s.names))
	}
	return s.names[route]
}

func (s *Spy) RequestStarted(route int) { s.record("RequestStarted", Event{Route: s.name(route)}) }

func (s *Spy) Refused(reason string) { s.record("Refused", Event{Text: reason}) }

func (s *Spy) Forwarded(d time.Duration) {
	s.record("Forwarded", Event{Took: d})
}

func (s *Spy) Uploaded(route int, n int) {
	s.record("Uploaded", Event{Route: s.name(route), N: n})
}

func (s *Spy) FirstByte(route int, d time.Duration) {
	s.record("FirstByte", Event{Route: s.name(route), Took: d})
}

func (s *Spy) StreamStarted(route int) { s.record("StreamStarted", Event{Route: s.name(route)}) }

func (s *Spy) Passed(route, key, n int, gap time.Duration) {
	s.record("Passed", Event{Route: s.name(route), Key: key, N: n, Took: gap})
}

func (s *Spy) KeySeen(id, narrowed [16]byte, label []byte) int {
	name := uuid.UUID(id).String()
	if narrowed != [16]byte{} {
		name += "~" + uuid.UUID(narrowed).String()
	}
	s.record("KeySeen", Event{Text: name + " " + string(label)})
	return len(s.All("KeySeen"))
}

func (s *Spy) StreamEnded(route int, outcome string) {
	s.record("StreamEnded", Event{Route: s.name(route), Text: outcome})
}

func (s *Spy) UpstreamJoined(name string) int {
	s.record("UpstreamJoined", Event{Text: name})
	return len(s.All("UpstreamJoined"))
}

func (s *Spy) UpstreamLeft(upstream int) { s.record("UpstreamLeft", Event{N: upstream}) }

func (s *Spy) UpstreamFailed(upstream int, kind string) {
	s.record("UpstreamFailed", Event{N: upstream, Text: kind})
}

func (s *Spy) UpstreamUp(upstream int, up bool) {
	s.record("UpstreamUp", Event{N: upstream, Text: fmt.Sprint(up)})
}

func (s *Spy) UpstreamEntered(upstream int, choice string) {
	s.record("UpstreamEntered", Event{N: upstream, Text: choice})
}

func (s *Spy) UpstreamDone(upstream int) { s.record("UpstreamDone", Event{N: upstream}) }

func (s *Spy) UpstreamRetried(upstream int, reason string) {
	s.record("UpstreamRetried", Event{N: upstream, Text: reason})
}

func (s *Spy) Answered(key int, model string, bytes, prompt, completion int64) {
	s.record("Answered", Event{Key: key, Text: model, N: int(bytes)})
	if prompt != 0 || completion != 0 {
		s.record("Tokens", Event{Key: key, Text: fmt.Sprint(model, " ", prompt, " ", completion)})
	}
}

func (s *Spy) Reloaded(source string, ok bool, _ time.Time) {
	s.record("Reloaded", Event{Text: fmt.Sprint(source, " ", ok)})
}

func (s *Spy) RequestEnded(route int, method string, code int, d time.Duration) {
	s.record("RequestEnded", Event{Route: s.name(route), Text: method, N: code, Took: d})
}

// All returns the events of a method so far.
func (s *Spy) All(what string) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events[what])
}

// Sum returns the sum of Event.N of a method's events.
func (s *Spy) Sum(what string) (n int) {
	for _, e := range s.All(what) {
		n += e.N
	}
	return n
}

// Texts returns Event.Text of each of a method's events.
func (s *Spy) Texts(what string) (all []string) {
	for _, e := range s.All(what) {
		all = append(all, e.Text)
	}
	return all
}

// Await waits until there are n events of a method, and returns the n-th.
func (s *Spy) Await(t *testing.T, what string, n int) Event {
	t.Helper()
	timeout := time.After(Timeout)
	for {
		s.mu.Lock()
		all := s.events[what]
		if s.grown == nil {
			s.grown = make(chan struct{})
		}
		grown := s.grown
		s.mu.Unlock()
		if len(all) >= n {
			return all[n-1]
		}
		select {
		case <-grown:
		case <-timeout:
			t.Fatalf("waited in vain for %s number %d; there were %+v", what, n, all)
		}
	}
}

// Ended waits until n requests have ended, and returns the code of the n-th.
func (s *Spy) Ended(t *testing.T, n int) int { t.Helper(); return s.Await(t, "RequestEnded", n).N }

// Idle waits until as many requests have ended as have arrived.
func (s *Spy) Idle(t *testing.T) {
	t.Helper()
	if n := len(s.All("RequestStarted")); n > 0 {
		s.Await(t, "RequestEnded", n)
	}
}

// unbalanced lists what has begun more or less often than it has ended.
func (s *Spy) unbalanced() (all []string) {
	for _, pair := range [][2]string{{"RequestStarted", "RequestEnded"}, {"StreamStarted", "StreamEnded"}, {"UpstreamEntered", "UpstreamDone"}} {
		open := map[string]int{}
		for _, e := range s.All(pair[0]) {
			open[e.Route]++
		}
		for _, e := range s.All(pair[1]) {
			open[e.Route]--
		}
		for route, n := range open {
			if n != 0 {
				all = append(all, fmt.Sprintf("%s: %d more calls of %s than of %s", route, n, pair[0], pair[1]))
			}
		}
	}
	return all
}

// audit checks what must hold after every test: all that began has ended once, and each
// reason, outcome, kind and method is one of those that the proxy lists. A request may
// still begin while it waits, on a connection that is already closed.
func (s *Spy) audit(t *testing.T) {
	t.Helper()
	s.Idle(t)
	for until := time.Now().Add(Timeout); len(s.unbalanced()) > 0; runtime.Gosched() {
		if time.Now().After(until) {
			t.Error(s.unbalanced())
			break
		}
	}
	words := map[string][]string{
		"Refused":         handler.RefusalReasons(),
		"StreamEnded":     handler.StreamOutcomes(),
		"UpstreamFailed":  upstream.Errors(),
		"UpstreamEntered": upstream.Choices(),
		"UpstreamRetried": upstream.Retries(),
		"RequestEnded":    {"GET", "HEAD", "POST", "DELETE", "other"},
	}
	for what, known := range words {
		for _, text := range s.Texts(what) {
			if !slices.Contains(known, text) {
				t.Errorf("%s(%q): the word is not one of %q", what, text, known)
			}
		}
	}
	for _, e := range s.All("RequestStarted") {
		if !slices.Contains(s.names, e.Route) {
			t.Errorf("RequestStarted(%s)", e.Route)
		}
	}
}
