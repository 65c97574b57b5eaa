package signer

import (
	"encoding/hex"

	"github.com/google/uuid"
)

// ownLimits are four of the last five bytes in the UUID of a key that was minted with an
// rpm or a streams caveat; the last byte says which. The UUID is under the tag, so
// nobody but the minter can say so. In the UUID of any other key these bytes are random:
// one in 366 billion says so by chance.
var ownLimits = [4]byte{0x6f, 0x77, 0x6e, 0x3d}

const (
	ownRPM     = 1
	ownStreams = 2
)

// ownLimitsHex is how they stand in a key.
var ownLimitsHex = hex.EncodeToString(ownLimits[:])

// markLimits writes into the UUID of a new key which limits it is minted with.
func markLimits(id *uuid.UUID, caveats []Caveat) {
	var which byte
	for _, c := range caveats {
		switch c.Name {
		case "rpm":
			which |= ownRPM
		case "streams":
			which |= ownStreams
		}
	}
	if which != 0 {
		copy(id[11:], ownLimits[:])
		id[15] = which
	}
}

// MintedWithRPM reports whether Mint made the key, or the one that it was made from, with
// an rpm caveat. A caveat alone does not tell: its holder may have added it, and then
// what holds for keys without one must go on holding. For keys that something else than
// [Mint] made it is false.
func (l Limits) MintedWithRPM() bool { return l.mintedWith(kindRPM, ownRPM) }

// MintedWithStreams reports the same of a streams caveat.
func (l Limits) MintedWithStreams() bool { return l.mintedWith(kindStreams, ownStreams) }

func (l Limits) mintedWith(kind kind, which byte) bool {
	if !l.has.has(kind) {
		return false // whatever its UUID says
	}
	id := l.signed[int(l.head)-uuidLen : l.head]
	mark, flags := id[uuidLen-10:uuidLen-2], id[uuidLen-2:]
	return mark == ownLimitsHex && flags[0] == '0' && '1' <= flags[1] && flags[1] <= '3' && (flags[1]-'0')&which != 0
}

// Family returns the key's head, which all keys that are made from one another share.
func (l Limits) Family() string { return l.signed[:l.head] }
