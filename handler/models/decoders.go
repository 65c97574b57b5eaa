package models

import (
	"container/list"
	"context"
	"sync"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

// decoders is a pool of a few zstd decoders that keys share fairly: when bodies wait, a
// free decoder goes to the next key in turn, however many bodies each key has waiting.
// So a key waits for one body of each other key at most. Keys restricted from one minted
// key have its id and count as one. It is safe for concurrent use.
type decoders struct {
	mu      sync.Mutex
	created int // decoders, at most max
	max     int
	free    []*zstd.Decoder
	queues  map[uuid.UUID]*keyQueue // of the keys that have bodies waiting
	order   list.List               // of the same *keyQueue, the next one first
}

// keyQueue holds the waiting bodies of one key, as waitingBody.
type keyQueue struct {
	key     uuid.UUID
	bodies  list.List
	element *list.Element // in decoders.order
}

// waitingBody receives a decoder. It has a buffer of one, so that nobody blocks on it.
type waitingBody chan *zstd.Decoder

func newDecoders(max int) *decoders {
	return &decoders{max: max, queues: map[uuid.UUID]*keyQueue{}}
}

// acquire waits for a decoder. If the context ends first, acquire returns its error;
// otherwise release must be called.
func (s *decoders) acquire(ctx context.Context, key uuid.UUID) (*zstd.Decoder, error) {
	s.mu.Lock()
	if n := len(s.free); n > 0 {
		d := s.free[n-1]
		s.free = s.free[:n-1]
		s.mu.Unlock()
		return d, nil
	}
	if s.created < s.max {
		s.created++
		s.mu.Unlock()
		return newDecoder(), nil
	}
	q := s.queues[key]
	if q == nil {
		q = &keyQueue{key: key}
		q.element = s.order.PushBack(q)
		s.queues[key] = q
	}
	waiting := make(waitingBody, 1)
	position := q.bodies.PushBack(waiting)
	s.mu.Unlock()

	select {
	case d := <-waiting:
		return d, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case d := <-waiting: // it came at the same time
		s.handOver(d)
	default:
		q.bodies.Remove(position)
		s.removeIfEmpty(q)
	}
	return nil, ctx.Err()
}

// release returns a decoder to the pool. It must no longer hold its body.
func (s *decoders) release(d *zstd.Decoder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handOver(d)
}

// handOver gives a decoder to the next key in turn, or adds it to the free ones. The
// lock is held.
func (s *decoders) handOver(d *zstd.Decoder) {
	first := s.order.Front()
	if first == nil {
		s.free = append(s.free, d)
		return
	}
	q := first.Value.(*keyQueue)
	q.bodies.Remove(q.bodies.Front()).(waitingBody) <- d
	s.order.MoveToBack(first)
	s.removeIfEmpty(q)
}

// removeIfEmpty forgets a key that has no bodies waiting. The lock is held.
func (s *decoders) removeIfEmpty(q *keyQueue) {
	if q.bodies.Len() == 0 {
		s.order.Remove(q.element)
		delete(s.queues, q.key)
	}
}
