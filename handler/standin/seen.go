package standin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"
)

// What is remembered is bounded, so that a demo may run for weeks: the oldest requests are forgotten first.
const (
	keepRequests = 1000
	keepBody     = 1 << 20  // of each body, 1 MiB
	keepBodies   = 64 << 20 // of all bodies together, 64 MiB
)

// Seen is one request as it arrived.
type Seen struct {
	Method     string
	URI        string // as it stood in the request line
	Host       string
	RemoteAddr string
	Header     http.Header

	Body    []byte            // its first MiB
	BodyLen int64             // of all that arrived
	BodySum [sha256.Size]byte // of all that arrived

	// Model is the model that the request would run or act upon, in its canonical spelling, installed or not;
	// "" when it names none, or is refused before anything looks for one, or has a body that is an error.
	Model string

	// Account is what about the request acts with the ollama.com account of the machine's owner: "model",
	// "web_search" or "route"; "" if nothing does.
	Account string

	// Gone is closed when the client leaves, or the request's context ends, before the answer was finished.
	// Done is closed when the handler has returned.
	Gone, Done <-chan struct{}

	number     int           // counting from 1
	ready      chan struct{} // closed once the fields above are final
	gone, done chan struct{}
	unwatch    func() bool
	ctx        context.Context

	forgotten bool // guarded by the ledger's mutex

	mu      sync.Mutex
	settled bool // the answer is finished, or gone is closed: leaving means nothing any more
}

// Seen returns the requests that have arrived with their bodies so far, in order of arrival.
// Only the last 1,000 are remembered, fewer when their bodies are large.
func (o *Ollama) Seen() []*Seen { return o.ledger.all() }

// Await returns the n-th request, counting from 1 in order of arrival, once its body has been read.
// If it has not arrived yet, Await waits; if ctx ends before that, it returns ctx's error.
// If the request has been forgotten, or n is less than 1, it returns an error at once.
func (o *Ollama) Await(ctx context.Context, n int) (*Seen, error) { return o.ledger.await(ctx, n) }

// finish says that the last of the answer is about to be written. It comes before the write, because a client may
// leave, quite properly, as soon as it has read the last byte.
func (s *Seen) finish() {
	s.mu.Lock()
	s.settled = true
	s.mu.Unlock()
}

func (s *Seen) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.settled {
		s.settled = true
		close(s.gone)
	}
}

func (s *Seen) close() {
	s.unwatch()
	// Stopping the watch may have come between the end of the context and its notice.
	if s.ctx.Err() != nil {
		s.leave()
	}
	s.finish()
	close(s.done)
}

// ledger remembers requests in order of arrival.
type ledger struct {
	mu      sync.Mutex
	entries []*Seen
	dropped int           // how many were forgotten: entries[0] is request dropped+1
	bodies  int           // bytes held in entries' bodies
	grown   chan struct{} // closed at the next arrival
}

func (l *ledger) arrive(r *http.Request) *Seen {
	gone, done := make(chan struct{}), make(chan struct{})
	s := &Seen{
		Method: r.Method, URI: r.RequestURI, Host: r.Host, RemoteAddr: r.RemoteAddr, Header: r.Header.Clone(),
		Gone: gone, Done: done,
		ready: make(chan struct{}), gone: gone, done: done, ctx: r.Context(),
	}
	s.unwatch = context.AfterFunc(r.Context(), s.leave)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, s)
	s.number = l.dropped + len(l.entries)
	l.trim()
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
	return s
}

// publish makes s visible; its fields must not change after that.
func (l *ledger) publish(s *Seen) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(s.ready)
	if !s.forgotten {
		l.bodies += len(s.Body)
		l.trim()
	}
}

func (l *ledger) trim() {
	for len(l.entries) > keepRequests || l.bodies > keepBodies {
		oldest := l.entries[0]
		if isClosed(oldest.ready) {
			l.bodies -= len(oldest.Body)
		}
		oldest.forgotten = true
		l.entries[0] = nil // the array behind entries outlives the slot
		l.entries = l.entries[1:]
		l.dropped++
	}
}

func (l *ledger) all() []*Seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	var whole []*Seen
	for _, s := range l.entries {
		if isClosed(s.ready) {
			whole = append(whole, s)
		}
	}
	return whole
}

func (l *ledger) await(ctx context.Context, n int) (*Seen, error) {
	for {
		l.mu.Lock()
		i := n - 1 - l.dropped
		if i < 0 {
			l.mu.Unlock()
			return nil, fmt.Errorf("standin: request %d is not remembered", n)
		}
		var s *Seen
		var next chan struct{}
		if i < len(l.entries) {
			s = l.entries[i]
			next = s.ready
		} else {
			if l.grown == nil {
				l.grown = make(chan struct{})
			}
			next = l.grown
		}
		l.mu.Unlock()

		select {
		case <-next:
			if s != nil {
				return s, nil
			}
		case <-ctx.Done():
			if s != nil && isClosed(s.ready) {
				return s, nil // both at once: what is there is not a matter of luck
			}
			return nil, ctx.Err()
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
