package handler

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

const (
	// ordinaryBody is how much of each body is read into memory whatever the
	// others take: 16 KiB, more than most requests have.
	ordinaryBody = 16 << 10

	// maxBodies bounds what all bodies in memory take beyond that: 256 MiB. A
	// valid key is no right to all the memory of a machine.
	maxBodies = 256 << 20
)

var (
	// errNoRoom says that the rest of a body has to be passed on as it comes.
	errNoRoom = errors.New("no room for a body")

	// errTooMany refuses a body with which that cannot be done.
	errTooMany = &refusal{http.StatusServiceUnavailable, reasonOverload, "too many large requests at once, try again", 1}
)

// room is the memory that bodies take beyond what is ordinary.
type room struct {
	max  int64
	used atomic.Int64
}

// portion is what one body has of a room. Nil is none.
type portion struct {
	room  *room
	bytes atomic.Int64
}

// take makes a portion larger, if there is room for that.
func (r *room) take(p *portion, n int) (larger *portion, ok bool) {
	if r.used.Add(int64(n)) > r.max {
		r.used.Add(-int64(n))
		return p, false
	}
	if p == nil {
		p = &portion{room: r}
	}
	p.bytes.Add(int64(n))
	return p, true
}

// giveBack gives all of it back. More than once does no harm.
func (p *portion) giveBack() {
	if p != nil {
		p.room.used.Add(-p.bytes.Swap(0))
	}
}

// read reads a body into memory, up to its end or one byte beyond limit. announced
// is the length that the client gave, or -1; no more memory is set aside on its
// word than a small body takes. If there is no room for all of it, read returns
// what there is, and errNoRoom. The portion is the caller's in any case.
func (r *room) read(from io.Reader, limit, announced int64) (b []byte, p *portion, err error) {
	size := 4 << 10
	if announced >= 0 && announced <= smallBody {
		size = int(announced)
	}
	if size > ordinaryBody {
		var ok bool
		if p, ok = r.take(p, size-ordinaryBody); !ok {
			size = ordinaryBody
		}
	}
	b = make([]byte, 0, size)
	for {
		n, err := from.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF, err == nil && (int64(len(b)) == announced || int64(len(b)) > limit):
			return b, p, nil
		case err != nil:
			return b, p, err
		case len(b) < cap(b):
			continue
		}
		size := int(min(2*int64(len(b)), limit+1))
		if more := size - max(len(b), ordinaryBody); more > 0 {
			var ok bool
			if p, ok = r.take(p, more); !ok {
				return b, p, errNoRoom
			}
		}
		b = append(make([]byte, 0, size), b...)
	}
}
