package signer

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/google/uuid"
)

// Limits is what a key's caveats leave of its rights. It is a view of the caveats
// as they stand in the key and has no memory of its own: they were all read once
// to see that they parse, and each method reads those that it is about again. The
// zero Limits limits nothing.
type Limits struct {
	signed string // the key without its tag
	head   uint16 // where the caveats begin in it
	has    kinds
}

// Budget is a count that all keys with the same scope share: the key on which
// the caveat was put, and every key made from it.
type Budget struct {
	Scope string // not secret: the key without its tag, up to the caveat
	N     int    // at least 1
}

// bounds is what ends a key whatever it is used for.
type bounds struct {
	expires int64 // the earliest moment of its exp caveats in Unix seconds, or never
	revoked bool  // an id caveat is on the list
}

// readLimits reads the caveats of a key. If one is unknown, or its value does not
// parse, ok is false: a condition that is not understood is not met.
func readLimits(p *parts, list *Revocations) (l Limits, b bounds, ok bool) {
	l, b.expires = Limits{signed: p.signed, head: uint16(len(p.head))}, never
	for encoded := range l.caveats {
		c, ok := readCaveat(encoded)
		if !ok {
			return Limits{}, bounds{}, false
		}
		switch c.kind {
		case kindExp:
			b.expires = min(b.expires, c.expires)
		case kindID:
			b.revoked = b.revoked || list.has(wordsOf(c.id))
		}
		l.has |= 1 << c.kind
	}
	return l, b, true
}

// caveats yields each caveat as it stands in the key, and its scope.
func (l Limits) caveats(yield func(encoded, scope string) bool) {
	eachCaveat(l.signed, int(l.head), yield)
}

// Expires returns the earliest moment of the exp caveats, or the zero Time if
// there is none.
func (l Limits) Expires() time.Time {
	if !l.has.has(kindExp) {
		return time.Time{}
	}
	expires := int64(never)
	for encoded := range l.caveats {
		if kindExp.is(encoded) {
			expires = min(expires, number(encoded, maxExpiry))
		}
	}
	return time.Unix(expires, 0).UTC()
}

// Label returns the first label, or "" if there is none.
func (l Limits) Label() string {
	var room [MaxLabel]byte
	return string(l.AppendLabel(room[:0]))
}

// AppendLabel appends the first label, which has MaxLabel bytes at most, to dst.
func (l Limits) AppendLabel(dst []byte) []byte {
	if !l.has.has(kindLabel) {
		return dst
	}
	for encoded := range l.caveats {
		if kindLabel.is(encoded) {
			var room [shortCaveat]byte
			_, value, _ := decodeCaveat(room[:], encoded)
			return append(dst, value...)
		}
	}
	return dst
}

// LastID returns the last id caveat: the key's own, or that of the nearest key it was
// made from that has one. If there is none, ok is false. Whoever narrowed the key chose
// it, see the package's documentation. LastID allocates nothing.
func (l Limits) LastID() (id uuid.UUID, ok bool) {
	if !l.has.has(kindID) {
		return uuid.UUID{}, false
	}
	for encoded := range l.caveats {
		if kindID.is(encoded) {
			var room [shortCaveat]byte
			_, value, _ := decodeCaveat(room[:], encoded)
			id, ok = parseID(value)
		}
	}
	return id, ok
}

// nameOf names a key for people and programs: by the UUID of its head and, where it has
// id caveats, "~" and the last of them.
func nameOf(id uuid.UUID, l Limits) string {
	name := id.String()
	if last, ok := l.LastID(); ok {
		name += "~" + last.String()
	}
	return name
}

// Caveats returns the key's caveats in their order.
func (l Limits) Caveats() (all []Caveat) {
	var room [longestCaveat]byte
	for encoded := range l.caveats {
		name, value, _ := decodeCaveat(room[:], encoded)
		all = append(all, Caveat{string(name), string(value)})
	}
	return all
}

// HasBudgets reports whether Streams or RPM yields anything.
func (l Limits) HasBudgets() bool { return l.has.has(kindStreams) || l.has.has(kindRPM) }

// Streams yields the streams caveats. Each must hold.
func (l Limits) Streams(yield func(Budget) bool) { l.budgets(kindStreams, yield) }

// RPM yields the rpm caveats. Each must hold.
func (l Limits) RPM(yield func(Budget) bool) { l.budgets(kindRPM, yield) }

func (l Limits) budgets(kind kind, yield func(Budget) bool) {
	if !l.has.has(kind) {
		return
	}
	for encoded, scope := range l.caveats {
		if kind.is(encoded) && !yield(Budget{scope, int(number(encoded, maxCount))}) {
			return
		}
	}
}

// AllowsClass reports whether routes of class c are open to the key as far as
// its caveats go.
func (l Limits) AllowsClass(c Class) bool { return l.allow(kindRoutes, subject{class: c}) }

// LimitsAddresses reports whether the key is for some addresses only.
func (l Limits) LimitsAddresses() bool { return l.has.has(kindFrom) }

// AllowsAddress reports whether the key may be used from addr. An
// IPv4-mapped IPv6 address counts as the IPv4 address it is; zones are left out
// of account. The zero Addr, an address that is not known, is inside nothing.
func (l Limits) AllowsAddress(addr netip.Addr) bool {
	return l.allow(kindFrom, subject{addr: addr.Unmap().WithZone("")})
}

// LimitsModels reports whether the key is for some models only: then a request
// whose model cannot be told must be refused.
func (l Limits) LimitsModels() bool { return l.has.has(kindModels) }

// AllowsModel reports whether the key may use the model, given in its canonical
// spelling, see [CanonicalModel].
func (l Limits) AllowsModel(canonical string) bool {
	return l.allow(kindModels, subject{model: canonical})
}

// subject is what a caveat with a list is asked about: one of the three.
type subject struct {
	class Class
	model string
	addr  netip.Addr
}

// allow reports whether each caveat of the kind lists the subject.
func (l Limits) allow(kind kind, s subject) bool {
	if !l.has.has(kind) {
		return true
	}
	for encoded := range l.caveats {
		if kind.is(encoded) && !kind.allows(encoded, s) {
			return false
		}
	}
	return true
}

// lists reports whether an item of the list covers the subject. Nothing here is
// called through a variable: then the list, which is on the caller's stack, would
// have to move to the heap.
func (k kind) lists(list []byte, s subject) bool {
	for more := true; more; {
		var item []byte
		item, list, more = bytes.Cut(list, comma)
		covers := false
		switch k {
		case kindModels:
			covers = glob(item).matches(s.model)
		case kindRoutes:
			covers = string(item) == string(s.class)
		case kindFrom:
			network, err := parseNetwork(item)
			covers = err == nil && network.Contains(s.addr)
		}
		if covers {
			return true
		}
	}
	return false
}

// Class groups routes by what they can do.
type Class string

// The classes of routes. Admin routes are open to OLLAMA-ADMIN- keys only.
const (
	Chat   Class = "chat"
	Embed  Class = "embed"
	Models Class = "models"
	Admin  Class = "admin"
)
