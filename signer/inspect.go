package signer

import (
	"time"

	"github.com/google/uuid"
)

// Unverified is what a key says of itself, genuine or not. Never base a
// decision on it: anyone can write such a key.
type Unverified struct {
	ID      uuid.UUID
	Admin   bool
	Caveats []Caveat
	Limits  Limits
}

// Inspect reads a key without checking its tag. If the text has not the shape
// of a key, or one of its caveats is unknown or does not parse, Inspect
// returns an error: no server would take it.
func Inspect(text string) (Unverified, error) {
	p, ok := split(text)
	if !ok {
		return Unverified{}, ErrMalformed
	}
	u := Unverified{ID: p.id, Admin: p.admin}
	if u.Limits, _, ok = readLimits(&p, nil); !ok {
		return Unverified{}, ErrMalformed
	}
	u.Caveats = u.Limits.Caveats()
	return u, nil
}

// Name is the key's UUID and, where it has id caveats, "~" and the last of them.
func (u Unverified) Name() string { return nameOf(u.ID, u.Limits) }

// Minted returns when the key says it was minted. If its UUID carries no time,
// ok is false.
func (u Unverified) Minted() (t time.Time, ok bool) { return mintedAt(u.ID) }

// mintedAt reads the milliseconds at the head of a version 7 UUID.
func mintedAt(id uuid.UUID) (t time.Time, ok bool) {
	if id.Version() != 7 || id.Variant() != uuid.RFC4122 {
		return time.Time{}, false
	}
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC(), true
}
