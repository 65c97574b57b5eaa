package handlertest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Compressed is the line of the header of a body that is compressed with zstd.
const Compressed = "Content-Encoding: zstd"

// CompressWideWindow compresses a body with zstd and announces a window of 8 MiB.
func CompressWideWindow(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, text[:1])
	w.Flush() // otherwise the writer would announce a window of the body's size
	fmt.Fprint(w, text[1:])
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
