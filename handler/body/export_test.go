package body

import (
	"io"
)

// ReadBody reads a body into memory, and returns how much of the budget it has taken.
func ReadBody(from io.Reader, limit, announced int64) (b []byte, taken int64, err error) {
	budget := Budget{Max: MaxBodies}
	c, _, err := budget.Read(from, limit, announced)
	taken = budget.Used.Load()
	b, _ = io.ReadAll(NewReader(c))
	return b, taken, err
}
