package standin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"
)

// The requests that are remembered are bounded, so that a demo can run for weeks. The oldest are forgotten first.
const (
	keepRequests = 1000
	keepBody     = 1 << 20  // of each body, 1 MiB
	keepBodies   = 64 << 20 // of all bodies together, 64 MiB
)

// Seen is one request as the stand-in received it.
type Seen struct {
	Method     string
	URI        string // as it stood in the request line
	Host       string
	RemoteAddr string
	Header     http.Header

	Body    []byte            // the first MiB
	BodyLen int64             // in bytes, of the whole body
	BodySum [sha256.Size]byte // SHA-256 of the whole body

	// Model is the model that the request would run or change, in its canonical spelling, installed or not; ""
	// if it names none, is refused before its model is read, or has an invalid body.
	Model string

	// Account says what in the request uses the ollama.com account of the machine's owner: "model", "web_search"
	// or "route"; "" if nothing does.
	Account string

	// Gone is closed if the client leaves, or the request's context ends, before the answer is complete. Done is
	// closed when the handler has returned.
	Gone, Done <-chan struct{}

	number     int           // counting from 1
	ready      chan struct{} // closed once the fields above are final
	gone, done chan struct{}
	stopWatch  func() bool
	ctx        context.Context

	forgotten bool // guarded by the ledger's mutex

	mu      sync.Mutex
	settled bool // the answer is complete, or gone is closed
}

// Seen returns the requests whose bodies have arrived so far, in order of arrival. The last 1,000 are remembered, or
// fewer if more than 64 MiB of their bodies would be kept.
func (o *Ollama) Seen() []*Seen { return o.log.all() }

// Await returns the n-th request, counting from 1 in order of arrival, once its body has been read.
// If it has not arrived yet, Await waits; if ctx ends before that, it returns ctx's error.
// If the request has been forgotten, or n is less than 1, it returns an error at once.
func (o *Ollama) Await(ctx context.Context, n int) (*Seen, error) { return o.log.await(ctx, n) }

// answerEnds records that the end of the answer is about to be written. It is called before the write, since a client
// may leave as soon as it has read the last byte.
func (s *Seen) answerEnds() {
	s.mu.Lock()
	s.settled = true
	s.mu.Unlock()
}

// clientLeft closes Gone, unless the answer is complete.
func (s *Seen) clientLeft() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.settled {
		s.settled = true
		close(s.gone)
	}
}

func (s *Seen) close() {
	s.stopWatch()
	// The context may have ended just before stopWatch, whose function then does not run.
	if s.ctx.Err() != nil {
		s.clientLeft()
	}
	s.answerEnds()
	close(s.done)
}

// requestLog holds the requests in order of arrival.
type requestLog struct {
	mu      sync.Mutex
	entries []*Seen
	dropped int           // requests that were forgotten: entries[0] is request dropped+1
	bodies  int           // bytes in the bodies of entries
	grown   chan struct{} // closed by the next arrival
}

func (l *requestLog) arrive(r *http.Request) *Seen {
	gone, done := make(chan struct{}), make(chan struct{})
	s := &Seen{
		Method: r.Method, URI: r.RequestURI, Host: r.Host, RemoteAddr: r.RemoteAddr, Header: r.Header.Clone(),
		Gone: gone, Done: done,
		ready: make(chan struct{}), gone: gone, done: done, ctx: r.Context(),
	}
	s.stopWatch = context.AfterFunc(r.Context(), s.clientLeft)

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

// publish makes a request visible. Its fields must not change any more.
func (l *requestLog) publish(s *Seen) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(s.ready)
	if !s.forgotten {
		l.bodies += len(s.Body)
		l.trim()
	}
}

func (l *requestLog) trim() {
	for len(l.entries) > keepRequests || l.bodies > keepBodies {
		oldest := l.entries[0]
		if isClosed(oldest.ready) {
			l.bodies -= len(oldest.Body)
		}
		oldest.forgotten = true
		l.entries[0] = nil // the array still holds the entry after it is sliced off
		l.entries = l.entries[1:]
		l.dropped++
	}
}

func (l *requestLog) all() []*Seen {
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

func (l *requestLog) await(ctx context.Context, n int) (*Seen, error) {
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
				return s, nil // if both channels are ready, select chooses one at random
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
