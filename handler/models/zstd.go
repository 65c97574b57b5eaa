package models

import (
	"context"
	"io"
	"runtime"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

const (
	// MaxDecoded is what Ollama takes of a compressed body once it is decoded:
	// 20 MiB.
	MaxDecoded = 20 << 20

	// maxWindow is how far back a body may refer: 8 MiB, as with Ollama. A
	// decoder sets all of that aside if a body of a few bytes asks for it.
	maxWindow = 8 << 20

	// maxDecoders is how many bodies are decoded at once, if there are as many
	// processors and one more. Others wait: that takes a client's patience, and
	// not memory.
	maxDecoders = 4
)

// allDecoders are those of the process. A few KiB may keep one busy for a long
// time, so they leave a processor to those who are not compressed.
var allDecoders = newDecoders(max(1, min(maxDecoders, runtime.GOMAXPROCS(0)-1)))

func newDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxDecoded), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		panic(err) // only options can be wrong
	}
	return d
}

// BorrowDecoder waits until it is the key's turn to have a body decoded, and lets a
// decoder begin with it. If the context ends before that, borrowDecoder returns an
// error. Otherwise giveBack must be called.
func BorrowDecoder(ctx context.Context, key uuid.UUID, body io.Reader) (*zstd.Decoder, error) {
	d, err := allDecoders.borrow(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := d.Reset(body); err != nil {
		ReturnDecoder(d)
		return nil, ErrUnreadable
	}
	return d, nil
}

func ReturnDecoder(d *zstd.Decoder) {
	d.Reset(nil) // lets go of the body
	allDecoders.giveBack(d)
}
