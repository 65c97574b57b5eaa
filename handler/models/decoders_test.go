package models_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/ollama-proxy/ollama-proxy/handler/models"
)

// fixture is a pool of decoders with bodies of several keys waiting. A body is known by
// its key alone.
type fixture struct {
	acquire func(context.Context, uuid.UUID) error
	release func()
	served  chan uuid.UUID
}

func newFixture(max int) *fixture {
	d := &fixture{served: make(chan uuid.UUID, 1000)}
	d.acquire, d.release = models.NewDecoders(max)
	return d
}

// enqueue has n bodies of a key wait.
func (d *fixture) enqueue(ctx context.Context, key uuid.UUID, n int) {
	for range n {
		go func() {
			if d.acquire(ctx, key) == nil {
				d.served <- key
			}
		}()
	}
	synctest.Wait()
}

// next releases one decoder, and returns the key that gets it.
func (d *fixture) next(t *testing.T) uuid.UUID {
	t.Helper()
	d.release()
	synctest.Wait()
	select {
	case key := <-d.served:
		return key
	default:
		t.Fatal("no key got the decoder")
	}
	return uuid.UUID{}
}

// TestDecodersGoToKeysInTurn: a key with many bodies waiting delays another key by one
// of them, and no more.
func TestDecodersGoToKeysInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		greedy, modest, third := uuid.New(), uuid.New(), uuid.New()
		d := newFixture(1)
		d.enqueue(t.Context(), greedy, 201)
		<-d.served // the first need not wait
		d.enqueue(t.Context(), modest, 2)
		d.enqueue(t.Context(), third, 1)
		var order []uuid.UUID
		for range 6 {
			order = append(order, d.next(t))
		}
		if want := []uuid.UUID{greedy, modest, third, greedy, modest, greedy}; !slices.Equal(order, want) {
			t.Errorf("decoded in the order %v, not %v", order, want)
		}
		for range 197 {
			if d.next(t) != greedy {
				t.Fatal("a decoder went to a key that has no bodies waiting")
			}
		}
		d.release()
		d.enqueue(t.Context(), modest, 1)
		if <-d.served != modest {
			t.Error("a decoder is lost")
		}
	})
}

// TestCancelledWaitLosesNoDecoder, even if the decoder was just handed over, nor a turn
// of its key.
func TestCancelledWaitLosesNoDecoder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := uuid.New(), uuid.New()
		d := newFixture(2)
		d.enqueue(t.Context(), first, 2)
		<-d.served
		<-d.served
		leaving, leave := context.WithCancel(t.Context())
		d.enqueue(leaving, first, 50)
		d.enqueue(t.Context(), second, 1)
		go leave()
		d.release() // at the same time
		d.release()
		synctest.Wait()
		d.enqueue(t.Context(), first, 5)
		for range cap(d.served) {
			if len(d.served) == 0 {
				break
			}
			<-d.served
			d.release()
			synctest.Wait()
		}
		d.enqueue(t.Context(), second, 2)
		if len(d.served) != 2 {
			t.Errorf("%d of two decoders are left", len(d.served))
		}
	})
}
