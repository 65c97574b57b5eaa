package handler

import (
	"io"
)

// ReadBody reads a body into memory, and tells how much room that takes.
func ReadBody(from io.Reader, limit, announced int64) (b []byte, took int64, err error) {
	r := room{max: maxBodies}
	c, _, err := r.read(from, limit, announced)
	took = r.used.Load()
	b, _ = io.ReadAll(newMemory(c))
	return b, took, err
}
