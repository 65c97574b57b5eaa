package models

import (
	"context"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

// Decoders returns how many bodies are decoded at once.
func Decoders() int { return allDecoders.max }

// HoldDecoders acquires all decoders until release is called.
func HoldDecoders() (release func()) {
	held := make([]*zstd.Decoder, allDecoders.max)
	for i := range held {
		held[i], _ = allDecoders.acquire(context.Background(), uuid.UUID{})
	}
	return func() {
		for _, d := range held {
			allDecoders.release(d)
		}
	}
}

// NewDecoders makes a pool of at most max decoders. release returns any of those that
// were acquired.
func NewDecoders(max int) (acquire func(context.Context, uuid.UUID) error, release func()) {
	s := newDecoders(max)
	acquire = func(ctx context.Context, key uuid.UUID) error {
		_, err := s.acquire(ctx, key)
		return err
	}
	return acquire, func() { s.release(nil) }
}
