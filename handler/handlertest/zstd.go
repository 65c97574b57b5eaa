package handlertest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/klauspost/compress/zstd"
)

const Compressed = "Content-Encoding: zstd"

// FarReaching compresses a body, and announces that it may refer 8 MiB back.
func FarReaching(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, text[:1])
	w.Flush() // before it knows how little there is
	fmt.Fprint(w, text[1:])
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
