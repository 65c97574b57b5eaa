package models

import (
	"container/list"
	"context"
	"sync"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

// decoders shares a few zstd decoders out fairly among keys: the keys whose bodies
// wait get one in turn, whatever number of bodies each of them has waiting. So
// another key's bodies hold a body up for no longer than one of them takes. Keys made
// from one key count as that one.
type decoders struct {
	mu    sync.Mutex
	made  int // of max
	max   int
	free  []*zstd.Decoder
	lines map[uuid.UUID]*decoderLine // of the keys whose bodies wait
	turns list.List                  // of the same, those first whose turn it is
}

// decoderLine is the queue of one key's bodies, of *waitingBody.
type decoderLine struct {
	key    uuid.UUID
	bodies list.List
	turn   *list.Element
}

// waitingBody gets its decoder through a channel that holds one.
type waitingBody chan *zstd.Decoder

func newDecoders(max int) *decoders {
	return &decoders{max: max, lines: map[uuid.UUID]*decoderLine{}}
}

// borrow waits for a decoder. If the context ends before there is one, borrow
// returns its error. Otherwise giveBack must be called.
func (s *decoders) borrow(ctx context.Context, key uuid.UUID) (*zstd.Decoder, error) {
	s.mu.Lock()
	if n := len(s.free); n > 0 {
		d := s.free[n-1]
		s.free = s.free[:n-1]
		s.mu.Unlock()
		return d, nil
	}
	if s.made < s.max {
		s.made++
		s.mu.Unlock()
		return newDecoder(), nil
	}
	l := s.lines[key]
	if l == nil {
		l = &decoderLine{key: key}
		l.turn = s.turns.PushBack(l)
		s.lines[key] = l
	}
	waiting := make(waitingBody, 1)
	place := l.bodies.PushBack(waiting)
	s.mu.Unlock()

	select {
	case d := <-waiting:
		return d, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case d := <-waiting: // in the meantime
		s.passOn(d)
	default:
		l.bodies.Remove(place)
		s.leaveIfEmpty(l)
	}
	return nil, ctx.Err()
}

// giveBack takes a decoder back that has let go of its body.
func (s *decoders) giveBack(d *zstd.Decoder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passOn(d)
}

// passOn gives a decoder to the key whose turn it is, with the lock held.
func (s *decoders) passOn(d *zstd.Decoder) {
	first := s.turns.Front()
	if first == nil {
		s.free = append(s.free, d)
		return
	}
	l := first.Value.(*decoderLine)
	l.bodies.Remove(l.bodies.Front()).(waitingBody) <- d
	s.turns.MoveToBack(first)
	s.leaveIfEmpty(l)
}

func (s *decoders) leaveIfEmpty(l *decoderLine) {
	if l.bodies.Len() == 0 {
		s.turns.Remove(l.turn)
		delete(s.lines, l.key)
	}
}
