package signer

import (
	"encoding/binary"
	"math/bits"
	"time"

	"github.com/google/uuid"
)

// Revocations is a list of revoked keys. It never changes, so it needs no
// lock. A nil *Revocations revokes nothing, nor does a zero one.
//
// It takes some 22 bytes for each line that was read, however many there are,
// and nothing in it makes the garbage collector look inside.
type Revocations struct {
	// lines is a table with open addressing, never full. Zero marks what is
	// free, and so the zero UUID has its own place.
	lines    []line
	hasZero  bool
	n        int
	contents uint64
	before   time.Time
}

// line is a cache line of 64 bytes, filled from its start. Looking one through
// costs little, going on to the next costs time.
type line [4]words

// words is a UUID that compares faster.
type words struct{ hi, lo uint64 }

func wordsOf(id uuid.UUID) words {
	return words{binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])}
}

// table fills 18 of 25 places: more would make probes long, fewer would take
// more than 24 bytes an entry.
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

// has compares all four before it asks what is free: the processor foresees
// that branch, not one for each place.
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

// home is the line from which to look. It is monotonous in mix.
func (r *Revocations) home(w words) int {
	at, _ := bits.Mul64(w.mix(), uint64(len(r.lines)))
	return int(at)
}

func (r *Revocations) after(at int) int {
	if at++; at == len(r.lines) {
		return 0
	}
	return at
}

// mix spreads ids over 64 bits, also those that follow one another.
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

// Revoked reports whether the key with this id is revoked: its id is listed,
// or there is a Before and the id is older, or does not say how old it is. It
// takes no lock and allocates nothing.
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

// Len returns how many different ids are listed. Lines with `before` do not
// count.
func (r *Revocations) Len() int {
	if r == nil {
		return 0
	}
	return r.n
}

// Before returns the moment before which all keys are revoked, the latest that
// the list names. If it names none, Before returns the zero Time.
func (r *Revocations) Before() time.Time {
	if r == nil {
		return time.Time{}
	}
	return r.before
}

// Hash names the list in 48 bits, which a float64 holds exactly: lists of the
// same ids and the same Before have the same Hash on every replica, in whatever
// order, however often and with whatever comments. A list that revokes nothing
// has 0. Hash tells replicas apart that disagree; it is no defence against
// forgery.
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

// Lost returns how many of the older list's entries r lacks. If the older
// list's Before is later than that of r, this counts as one more. An id that r
// revokes only by its Before counts as lacking: what is counted is the list.
func (r *Revocations) Lost(older *Revocations) int {
	if older == nil {
		return 0
	}
	n := 0
	// Both tables are in the order of home, so this walks through both.
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
