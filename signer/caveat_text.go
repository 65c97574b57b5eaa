package signer

import (
	"strings"

	"github.com/google/uuid"
)

// Caveats are decoded on the stack. Clearing room for the longest of all would take
// longer than to hash a caveat, so there are two sizes.
const (
	// shortCaveat has room for nearly all caveats, decoded: 144 bytes. Only lists can
	// be longer.
	shortCaveat = 144

	// longestCaveat has room for any caveat of a key.
	longestCaveat = (maxKeyLen - len(userPrefix) - uuidLen - len("~.") - tagLen) * 3 / 4
)

// shortEncoded is how many characters fill shortCaveat bytes. A caveat of that length
// fits into either buffer.
const shortEncoded = shortCaveat / 3 * 4

// decodeCaveat decodes a caveat as it stands in a key into room, and gives its name
// and value there. If it is no base64url, or has no "=", ok is false.
func decodeCaveat(room []byte, encoded string) (name, value []byte, ok bool) {
	n, err := encoding.Decode(room, []byte(encoded))
	if err != nil {
		return nil, nil, false
	}
	for i, c := range room[:n] {
		if c == '=' {
			return room[:i], room[i+1 : n], true
		}
	}
	return nil, nil, false
}

// beginnings are how the caveats of each kind begin in a key: "exp=" in base64url, as
// far as its bits fill characters.
var beginnings = func() (all [len(kindNames)]string) {
	for k, name := range kindNames {
		name += "="
		all[k] = encoding.EncodeToString([]byte(name))[:len(name)*8/6]
	}
	return all
}()

// is reports whether a caveat of a key is of the kind. It must be known to be of one:
// what has such a beginning and not the name has a name that no kind has.
func (k kind) is(encoded string) bool { return strings.HasPrefix(encoded, beginnings[k]) }

// claim is what a caveat says, as far as verifying the key needs it at once.
type claim struct {
	kind    kind
	expires int64     // of an exp
	id      uuid.UUID // of an id
}

// readCaveat tells what the caveat says. If no caveat has that name or that value, ok is
// false.
func readCaveat(encoded string) (c claim, ok bool) {
	if len(encoded) > shortEncoded {
		return readLongCaveat(encoded)
	}
	var room [shortCaveat]byte
	return readCaveatInto(room[:], encoded)
}

//go:noinline
func readLongCaveat(encoded string) (c claim, ok bool) {
	var room [longestCaveat]byte
	return readCaveatInto(room[:], encoded)
}

func readCaveatInto(room []byte, encoded string) (c claim, ok bool) {
	name, value, ok := decodeCaveat(room, encoded)
	if !ok {
		return claim{}, false
	}
	if c.kind, ok = kindOf(name); !ok {
		return claim{}, false
	}
	switch c.kind {
	case kindExp:
		c.expires = parseNumber(value, maxExpiry)
		return c, c.expires > 0
	case kindID:
		c.id, ok = parseID(value)
		return c, ok
	}
	return c, c.kind.check(value) == nil
}

// number reads the number of a caveat that has one.
func number(encoded string, limit int64) int64 {
	var room [shortCaveat]byte
	_, value, _ := decodeCaveat(room[:], encoded)
	return parseNumber(value, limit)
}

// allows reports whether the caveat, which is of the kind, lists the subject.
func (k kind) allows(encoded string, s subject) bool {
	if len(encoded) > shortEncoded {
		return k.allowsLong(encoded, s)
	}
	var room [shortCaveat]byte
	_, value, _ := decodeCaveat(room[:], encoded)
	return k.lists(value, s)
}

//go:noinline
func (k kind) allowsLong(encoded string, s subject) bool {
	var room [longestCaveat]byte
	_, value, _ := decodeCaveat(room[:], encoded)
	return k.lists(value, s)
}
