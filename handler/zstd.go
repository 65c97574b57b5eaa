package handler

import (
	"context"
	"io"
	"runtime"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxDecoded is what Ollama takes of a compressed body once it is decoded:
	// 20 MiB.
	maxDecoded = 20 << 20

	// maxWindow is how far back a body may refer: 8 MiB, as with Ollama. A
	// decoder sets all of that aside if a body of a few bytes asks for it.
	maxWindow = 8 << 20

	// maxDecoders is how many bodies are decoded at once, if there are as many
	// processors and one more. Others wait: that takes a client's patience, and
	// not memory.
	maxDecoders = 4
)

// decoders are those that are free. They are made when they are first needed.
// A few KiB may keep one busy for a long time, so they leave a processor to
// those who are not compressed.
var decoders = func() chan *zstd.Decoder {
	n := max(1, min(maxDecoders, runtime.GOMAXPROCS(0)-1))
	free := make(chan *zstd.Decoder, n)
	for range n {
		free <- nil
	}
	return free
}()

// borrowDecoder waits for a decoder, and lets it begin with the body. If the
// context ends before there is one, borrowDecoder returns an error. Otherwise
// giveBack must be called.
func borrowDecoder(ctx context.Context, body io.Reader) (*zstd.Decoder, error) {
	var d *zstd.Decoder
	select {
	case d = <-decoders:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if d == nil {
		var err error
		d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxDecoded), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			panic(err) // only options can be wrong
		}
	}
	if err := d.Reset(body); err != nil {
		giveBack(d)
		return nil, errUnreadable
	}
	return d, nil
}

func giveBack(d *zstd.Decoder) {
	d.Reset(nil) // lets go of the body
	decoders <- d
}

// zstd reports whether Ollama would decode the body: it does so under /v1.
func (x *exchange) zstd() bool {
	return strings.HasPrefix(x.path, "/v1/") && x.r.Header.Get("Content-Encoding") == "zstd"
}
