package models

import (
	"context"
	"io"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

// Decoders is how many bodies are decoded at once.
func Decoders() int { return allDecoders.max }

// HoldDecoders takes all decoders, until release is called.
func HoldDecoders() (release func()) {
	held := make([]*zstd.Decoder, allDecoders.max)
	for i := range held {
		held[i], _ = allDecoders.borrow(context.Background(), uuid.UUID{})
	}
	return func() {
		for _, d := range held {
			allDecoders.giveBack(d)
		}
	}
}

// NewDecoders shares out decoders as is done among all keys. A decoder that is given
// back is any of those that were borrowed.
func NewDecoders(max int) (borrow func(context.Context, uuid.UUID) error, giveBack func()) {
	s := newDecoders(max)
	borrow = func(ctx context.Context, key uuid.UUID) error {
		_, err := s.borrow(ctx, key)
		return err
	}
	return borrow, func() { s.giveBack(nil) }
}

// Restful is a reader that rests now and then.
func Restful(r io.Reader) io.Reader { return NewRestful(r) }
