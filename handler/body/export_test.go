package body

import (
	"io"
)

// ReadBody reads a body into memory, and tells how much room that takes.
func ReadBody(from io.Reader, limit, announced int64) (b []byte, took int64, err error) {
	r := Budget{Max: MaxBodies}
	c, _, err := r.Read(from, limit, announced)
	took = r.Used.Load()
	b, _ = io.ReadAll(NewReader(c))
	return b, took, err
}
