package body

import (
	"errors"
	"io"
	"sync/atomic"
)

const (
	// ordinaryBody is how much of each body is read into memory whatever the
	// others take: 16 KiB, more than most requests have.
	ordinaryBody = 16 << 10

	// MaxBodies bounds what all bodies in memory take beyond that: 256 MiB. A
	// valid key is no right to all the memory of a machine.
	MaxBodies = 256 << 20
)

// ErrNoRoom says that the rest of a body has to be passed on as it comes.
var ErrNoRoom = errors.New("no room for a body")

// Budget is the memory that bodies take beyond what is ordinary.
type Budget struct {
	Max  int64
	Used atomic.Int64
}

// portion is what one body has of a room. Nil is none.
type Share struct {
	room  *Budget
	bytes atomic.Int64
}

// take makes a portion larger, if there is room for that.
func (r *Budget) take(p *Share, n int) (larger *Share, ok bool) {
	if r.Used.Add(int64(n)) > r.Max {
		r.Used.Add(-int64(n))
		return p, false
	}
	if p == nil {
		p = &Share{room: r}
	}
	p.bytes.Add(int64(n))
	return p, true
}

// Release gives all of it back. More than once does no harm.
func (p *Share) Release() {
	if p != nil {
		p.room.Used.Add(-p.bytes.Swap(0))
	}
}

// maxPreallocate is what is set aside for a body at most because its length has been
// announced: 64 KiB. Whoever announces much may send nothing.
const maxPreallocate = 64 << 10

// Read reads a body into memory, up to its end or one byte beyond limit. announced
// is the length that the client gave, or -1. If there is no room for all of it,
// read returns what there is, and errNoRoom. The portion is the caller's in any
// case.
func (r *Budget) Read(from io.Reader, limit, announced int64) (c Pieces, p *Share, err error) {
	most := limit + 1
	size := 4 << 10
	if announced >= 0 {
		most = announced
		size = int(min(announced, maxPreallocate))
	}
	if size > ordinaryBody {
		var ok bool
		if p, ok = r.take(p, size-ordinaryBody); !ok {
			size = ordinaryBody
		}
	}
	c.First = make([]byte, 0, size)
	for all := int64(0); ; {
		piece := c.last()
		n, err := from.Read((*piece)[len(*piece):cap(*piece)])
		*piece = (*piece)[:len(*piece)+n]
		all += int64(n)
		switch {
		case err == io.EOF, err == nil && (all == announced || all > limit):
			return c, p, nil
		case err != nil:
			return c, p, err
		case len(*piece) < cap(*piece):
			continue
		}
		var ok bool
		if p, ok = r.enlarge(&c, p, most); !ok {
			return c, p, ErrNoRoom
		}
	}
}

// enlarge gives a content that is full more memory, if there is room for that.
// There will be no more than most bytes of it.
func (r *Budget) enlarge(c *Pieces, p *Share, most int64) (larger *Share, ok bool) {
	all := c.Size()
	if all >= pieceSize {
		size := int(min(most-all, pieceSize))
		if p, ok = r.take(p, size); ok {
			c.More = append(c.More, make([]byte, 0, size))
		}
		return p, ok
	}
	size := int(min(2*all, most, pieceSize))
	if more := size - max(len(c.First), ordinaryBody); more > 0 {
		if p, ok = r.take(p, more); !ok {
			return p, false
		}
	}
	c.First = append(make([]byte, 0, size), c.First...)
	return p, true
}
