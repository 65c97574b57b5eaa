package signer

import (
	"encoding/binary"
	"math/bits"
	"time"

	"github.com/google/uuid"
)

// Revocations is a parsed revocation list. It is immutable, and so safe for concurrent
// use without a lock. A nil or zero *Revocations revokes nothing.
//
// It takes about 22 bytes for each id, and has no pointers that the garbage collector
// would have to follow.
type Revocations struct {
	// lines is a hash table with open addressing that is never full. The zero UUID marks
	// a free place; whether that UUID is listed is in hasZero.
	lines    []line
	hasZero  bool
	n        int
	contents uint64
	before   time.Time
}

// line is a cache line of 64 bytes, filled from its start. Searching within a line is
// cheap; the next line may have to be fetched from memory.
type line [4]words

// words is a UUID in a form that is compared faster.
type words struct{ hi, lo uint64 }

func wordsOf(id uuid.UUID) words {
	return words{binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])}
}

// table builds the hash table. It has 25 places for 18 ids: with fewer places, searches
// would take longer; with more, an id would take more than 24 bytes.
func (c *collection) table() *Revocations {
	r := &Revocations{lines: make([]line, c.n*25/18/len(line{})+1), before: c.before}
	for i, block := range c.blocks {
		for _, w := range block {
			r.insert(w)
		}
		c.blocks[i] = nil
	}
	return r
}

// insert adds an id unless it is there.
func (r *Revocations) insert(w words) {
	if r.has(w) {
		return
	}
	r.n++
	r.contents += scramble(w.mix() + 1)
	if w == (words{}) {
		r.hasZero = true
		return
	}
	for at := r.home(w); ; at = r.after(at) {
		for i, held := range r.lines[at] {
			if held == (words{}) {
				r.lines[at][i] = w
				return
			}
		}
	}
}

// has reports whether the id is listed. It compares all four ids of a line before it
// checks for a free place: the processor can predict that one branch, but not one for
// each place.
func (r *Revocations) has(w words) bool {
	if r == nil || len(r.lines) == 0 {
		return false
	}
	if w == (words{}) {
		return r.hasZero
	}
	for at := r.home(w); ; at = r.after(at) {
		l := &r.lines[at]
		if l[0] == w || l[1] == w || l[2] == w || l[3] == w {
			return true
		}
		if l[3] == (words{}) {
			return false
		}
	}
}

// home returns the index of the line at which a search begins. It grows with mix.
func (r *Revocations) home(w words) int {
	at, _ := bits.Mul64(w.mix(), uint64(len(r.lines)))
	return int(at)
}

// after returns the index of the next line.
func (r *Revocations) after(at int) int {
	if at++; at == len(r.lines) {
		return 0
	}
	return at
}

// mix hashes an id to 64 bits. Consecutive ids get unrelated hashes.
func (w words) mix() uint64 {
	hi, lo := bits.Mul64(w.hi^0x9e3779b97f4a7c15, w.lo^0xd6e8feb86659fd93)
	return scramble(hi ^ lo)
}

// scramble is the finaliser of SplitMix64.
func scramble(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// Revoked reports whether the key with this id in its head is revoked: the id is listed,
// or the list has a Before and the id is older than that, or has no time. It takes no
// lock and allocates nothing.
func (r *Revocations) Revoked(id uuid.UUID) bool {
	if r.has(wordsOf(id)) {
		return true
	}
	if r == nil || r.before.IsZero() {
		return false
	}
	at, ok := mintedAt(id)
	return !ok || at.Before(r.before)
}

// Len returns the number of different ids in the list. Lines with "before" do not count.
func (r *Revocations) Len() int {
	if r == nil {
		return 0
	}
	return r.n
}

// Before returns the time before which all keys are revoked: the latest in the list, or
// the zero Time if there is none.
func (r *Revocations) Before() time.Time {
	if r == nil {
		return time.Time{}
	}
	return r.before
}

// Hash returns a hash of 48 bits, which a float64 holds exactly. It depends only on the
// ids and on Before, not on order, repetition or comments, so that replicas with the
// same list have the same Hash. A list that revokes nothing has 0. Hash shows which
// replicas differ; it is no defence against forgery.
func (r *Revocations) Hash() uint64 {
	if r == nil {
		return 0
	}
	sum := r.contents
	if !r.before.IsZero() {
		sum += scramble(scramble(uint64(r.before.Unix())) + uint64(r.before.Nanosecond()) + 2)
	}
	return sum & (1<<48 - 1)
}

// Lost returns the number of entries in the older list that r lacks. If the older list
// has a later Before, this counts as one more. An id that r revokes only by its Before
// counts as lacking, because entries are counted and not revoked keys.
func (r *Revocations) Lost(older *Revocations) int {
	if older == nil {
		return 0
	}
	n := 0
	// Both tables are in the order of home, so the searches read r in order.
	for i := range older.lines {
		for _, w := range older.lines[i] {
			if w != (words{}) && !r.has(w) {
				n++
			}
		}
	}
	if older.hasZero && !r.has(words{}) {
		n++
	}
	if older.before.After(r.Before()) {
		n++
	}
	return n
}
