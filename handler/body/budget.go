package body

import (
	"errors"
	"io"
	"sync/atomic"
)

const (
	// freeBytes is how much of each body may be in memory without taking from the
	// budget: 16 KiB, more than most bodies have.
	freeBytes = 16 << 10

	// MaxBodies is the default of Budget.Max: 256 MiB.
	MaxBodies = 256 << 20
)

// ErrOverBudget is returned by Budget.Read when the budget does not suffice for the rest
// of a body.
var ErrOverBudget = errors.New("the memory for request bodies is used up")

// Budget bounds the memory that all bodies together take beyond 16 KiB each: whoever has
// a valid key is not entitled to all of a machine's memory. It is safe for concurrent
// use.
type Budget struct {
	Max  int64        // bytes
	Used atomic.Int64 // bytes taken now
}

// Share is what one body has taken from a budget. Nil is nothing.
type Share struct {
	budget *Budget
	bytes  atomic.Int64
}

// grow takes n more bytes from the budget for the share, or reports that there are not
// enough.
func (b *Budget) grow(share *Share, n int) (grown *Share, ok bool) {
	if b.Used.Add(int64(n)) > b.Max {
		b.Used.Add(-int64(n))
		return share, false
	}
	if share == nil {
		share = &Share{budget: b}
	}
	share.bytes.Add(int64(n))
	return share, true
}

// Release returns the share to its budget. Calling it twice does no harm.
func (s *Share) Release() {
	if s != nil {
		s.budget.Used.Add(-s.bytes.Swap(0))
	}
}

// maxPreallocate is the most that is allocated because of an announced length: 64 KiB.
// Whoever announces much may send nothing.
const maxPreallocate = 64 << 10

// Read reads a body into memory, up to its end, or one byte beyond limit if it is
// longer. announced is the body's Content-Length, or -1; if it is known, Read stops
// there. If the budget does not suffice, Read returns what it has read so far and
// [ErrOverBudget]; if reading fails, the error. In each case the caller must release the
// share.
func (b *Budget) Read(from io.Reader, limit, announced int64) (p Pieces, share *Share, err error) {
	most := limit + 1
	size := 4 << 10
	if announced >= 0 {
		most = announced
		size = int(min(announced, maxPreallocate))
	}
	if size > freeBytes {
		var ok bool
		if share, ok = b.grow(share, size-freeBytes); !ok {
			size = freeBytes
		}
	}
	p.First = make([]byte, 0, size)
	for all := int64(0); ; {
		piece := p.last()
		n, err := from.Read((*piece)[len(*piece):cap(*piece)])
		*piece = (*piece)[:len(*piece)+n]
		all += int64(n)
		switch {
		case err == io.EOF, err == nil && (all == announced || all > limit):
			return p, share, nil
		case err != nil:
			return p, share, err
		case len(*piece) < cap(*piece):
			continue
		}
		var ok bool
		if share, ok = b.enlarge(&p, share, most); !ok {
			return p, share, ErrOverBudget
		}
	}
}

// enlarge makes space for more bytes in p, whose last piece is full, or reports that the
// budget does not suffice. The body will not have more than most bytes.
func (b *Budget) enlarge(p *Pieces, share *Share, most int64) (grown *Share, ok bool) {
	all := p.Size()
	if all >= pieceSize {
		size := int(min(most-all, pieceSize))
		if share, ok = b.grow(share, size); ok {
			p.More = append(p.More, make([]byte, 0, size))
		}
		return share, ok
	}
	size := int(min(2*all, most, pieceSize))
	if more := size - max(len(p.First), freeBytes); more > 0 {
		if share, ok = b.grow(share, more); !ok {
			return share, false
		}
	}
	p.First = append(make([]byte, 0, size), p.First...)
	return share, true
}
