package models

import (
	"context"
	"io"
	"runtime"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

const (
	// MaxDecoded is the largest size that Ollama accepts of a body once it is decoded:
	// 20 MiB. A decoder from BorrowDecoder does not enforce it exactly: the caller must.
	MaxDecoded = 20 << 20

	// maxWindow is the largest window of a zstd frame that is accepted, by Ollama as
	// well: 8 MiB. The decoder allocates all of the window if a body of a few bytes asks
	// for it.
	maxWindow = 8 << 20

	// maxDecoders is how many bodies are decoded at once if the machine has more
	// processors than that. Other bodies wait, which takes their client's time but no
	// memory.
	maxDecoders = 4
)

// allDecoders is the pool of this process. A body of a few KiB may keep a decoder busy
// for long, so there is one decoder less than processors: that one is left to requests
// that are not compressed.
var allDecoders = newDecoders(max(1, min(maxDecoders, runtime.GOMAXPROCS(0)-1)))

// newDecoder makes a decoder that works in the goroutine of its reader.
func newDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxDecoded), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		panic(err) // only the options above can be invalid
	}
	return d
}

// BorrowDecoder waits for the key's turn and returns a decoder that reads from body.
// Keys take turns, whatever number of bodies each has waiting. If the context ends
// first, BorrowDecoder returns its error; if body does not begin as a zstd stream, it
// may return [ErrUnreadable]. Otherwise [ReturnDecoder] must be called.
func BorrowDecoder(ctx context.Context, key uuid.UUID, body io.Reader) (*zstd.Decoder, error) {
	d, err := allDecoders.acquire(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := d.Reset(body); err != nil {
		ReturnDecoder(d)
		return nil, ErrUnreadable
	}
	return d, nil
}

// ReturnDecoder takes back a decoder from BorrowDecoder, which must not be used
// afterwards.
func ReturnDecoder(d *zstd.Decoder) {
	d.Reset(nil) // releases the body
	allDecoders.release(d)
}
