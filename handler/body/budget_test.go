package body_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
)

// TestReadReadsTheWholeBody for bodies of any size that arrive in pieces of any size,
// whether their length is announced or not.
func TestReadReadsTheWholeBody(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 4095, 4096, 4097, 16 << 10, 16<<10 + 1, 100_000, 256 << 10, 256<<10 + 1, 700_000} {
		for _, limit := range []int{size - 1, size, size + 1, 4 * size} {
			for _, announced := range []int{-1, size} {
				for name, reader := range map[string]func(io.Reader) io.Reader{
					"at once": func(r io.Reader) io.Reader { return r }, "with its end": iotest.DataErrReader, "in halves": iotest.HalfReader, "byte by byte": iotest.OneByteReader,
				} {
					all := bytes.Repeat([]byte("body"), size)[:size]
					got, taken, err := body.ReadBody(reader(bytes.NewReader(all)), int64(limit), int64(announced))
					want := all[:min(size, limit+1)]
					if announced == size {
						want = all // the limit does not bound what was announced
					}
					if !bytes.Equal(got, want) || err != nil || taken < int64(len(got)-16<<10) || taken > int64(max(2*len(got), size)) {
						t.Errorf("%d bytes %s, announced as %d, at most %d: %d, %v, %d bytes taken", size, name, announced, limit, len(got), err, taken)
					}
				}
			}
		}
	}
	broken := iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("body")))
	if got, _, err := body.ReadBody(broken, 100, -1); string(got) != "b" || err != iotest.ErrTimeout {
		t.Errorf("of a body that ends in an error: %q, %v", got, err)
	}
}
