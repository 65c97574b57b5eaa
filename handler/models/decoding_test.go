package models_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/ollama-proxy/ollama-proxy/handler/models"
)

// decoding is bodies of several keys that wait for decoders. They are told apart by
// the key alone.
type decoding struct {
	borrow   func(context.Context, uuid.UUID) error
	giveBack func()
	served   chan uuid.UUID
}

func newDecoding(max int) *decoding {
	d := &decoding{served: make(chan uuid.UUID, 1000)}
	d.borrow, d.giveBack = models.NewDecoders(max)
	return d
}

// wait has n bodies of a key wait.
func (d *decoding) wait(ctx context.Context, key uuid.UUID, n int) {
	for range n {
		go func() {
			if d.borrow(ctx, key) == nil {
				d.served <- key
			}
		}()
	}
	synctest.Wait()
}

// next ends one, and tells whose body comes next.
func (d *decoding) next(t *testing.T) uuid.UUID {
	t.Helper()
	d.giveBack()
	synctest.Wait()
	select {
	case key := <-d.served:
		return key
	default:
		t.Fatal("nobody's body is decoded")
	}
	return uuid.UUID{}
}

// TestKeysAreDecodedInTurn: who has many bodies waiting holds another up for one of
// them, and for no more.
func TestKeysAreDecodedInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		greedy, modest, third := uuid.New(), uuid.New(), uuid.New()
		d := newDecoding(1)
		d.wait(t.Context(), greedy, 201)
		<-d.served // the first need not wait
		d.wait(t.Context(), modest, 2)
		d.wait(t.Context(), third, 1)
		var order []uuid.UUID
		for range 6 {
			order = append(order, d.next(t))
		}
		if want := []uuid.UUID{greedy, modest, third, greedy, modest, greedy}; !slices.Equal(order, want) {
			t.Errorf("decoded in the order %v, not %v", order, want)
		}
		for range 197 {
			if d.next(t) != greedy {
				t.Fatal("somebody else's body, who has none")
			}
		}
		d.giveBack()
		d.wait(t.Context(), modest, 1)
		if <-d.served != modest {
			t.Error("a decoder is lost")
		}
	})
}

// TestWhoLeavesTheQueueTakesNoTurn, nor a decoder that was just given to it.
func TestWhoLeavesTheQueueTakesNoTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := uuid.New(), uuid.New()
		d := newDecoding(2)
		d.wait(t.Context(), first, 2)
		<-d.served
		<-d.served
		leaving, leave := context.WithCancel(t.Context())
		d.wait(leaving, first, 50)
		d.wait(t.Context(), second, 1)
		go leave()
		d.giveBack() // at the same time
		d.giveBack()
		synctest.Wait()
		d.wait(t.Context(), first, 5)
		for range cap(d.served) {
			if len(d.served) == 0 {
				break
			}
			<-d.served
			d.giveBack()
			synctest.Wait()
		}
		d.wait(t.Context(), second, 2)
		if len(d.served) != 2 {
			t.Errorf("%d of two decoders are left", len(d.served))
		}
	})
}
