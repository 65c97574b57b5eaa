package signer

import (
	"crypto/sha256"
	"crypto/subtle"
	marshal "encoding"
	"fmt"
)

// mac is an HMAC-SHA256: a key's tag before it is encoded, and the key under
// which the next link of the chain is made.
type mac [sha256.Size]byte

// The HMAC of a text under a key that fills a block or less is, by RFC 2104,
//
//	SHA-256(key ⊕ opad, SHA-256(key ⊕ ipad, text))
//
// with the key made up to a block with zeros. What follows writes that out:
// crypto/hmac makes an object for each key, and each link of a chain has a new
// key.
var ipad, opad = padding(0x36), padding(0x5c)

func padding(b byte) (block [sha256.BlockSize]byte) {
	for i := range block {
		block[i] = b
	}
	return block
}

// root makes the first HMAC of every chain under one secret. It holds the two
// states of SHA-256 that have taken in the secret, so that a key costs two blocks
// and not four. It never changes.
type root struct{ inner, outer []byte }

func newRoot(s Secret) root {
	key := s.text()
	if len(key) > sha256.BlockSize {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	return root{stateAfter(key, &ipad), stateAfter(key, &opad)}
}

// stateAfter is the state of SHA-256 after one block, the key with the padding.
func stateAfter(key []byte, pad *[sha256.BlockSize]byte) []byte {
	block := *pad
	subtle.XORBytes(block[:], key, pad[:])
	h := sha256.New()
	h.Write(block[:])
	state, err := h.(marshal.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic(fmt.Sprintf("signer: SHA-256 cannot save its state: %v", err))
	}
	return state
}

// hmac is the HMAC of a key's head under the secret.
func (r root) hmac(head string) mac {
	var text [len(adminPrefix) + uuidLen]byte // a []byte(head) would be on the heap
	inner := resume(r.inner, text[:copy(text[:], head)])
	return resume(r.outer, inner[:])
}

// resume is the SHA-256 of what the state has taken in, and then text.
func resume(state, text []byte) (sum mac) {
	h := sha256.New()
	if err := h.(marshal.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		panic(fmt.Sprintf("signer: SHA-256 does not know its own state: %v", err))
	}
	h.Write(text)
	h.Sum(sum[:0])
	return sum
}

// chain goes on from the HMAC of a key's head with its caveats, and returns the
// last link. Its memory is on the stack: for most keys a little, since clearing room
// for the longest caveat of all takes as long as two blocks.
func (p *parts) chain(link mac) mac {
	const most = 320 // characters that all caveats have together
	// At the bound either buffer is long enough.
	if len(p.caveats) > most {
		return p.chainLong(link)
	}
	var inner [sha256.BlockSize + most]byte
	return p.chainIn(inner[:], link)
}

//go:noinline
func (p *parts) chainLong(link mac) mac {
	var inner [sha256.BlockSize + maxKeyLen]byte
	return p.chainIn(inner[:], link)
}

// chainIn needs room for a block and the longest caveat.
func (p *parts) chainIn(inner []byte, link mac) mac {
	const block = sha256.BlockSize
	var outer [block + sha256.Size]byte
	copy(inner, ipad[:]) // what follows a key, which is half a block, stays
	copy(outer[:], opad[:])
	for encoded := range p.encodedCaveats {
		subtle.XORBytes(inner, link[:], ipad[:])
		subtle.XORBytes(outer[:], link[:], opad[:])
		n := copy(inner[block:], encoded)
		link = sha256.Sum256(inner[:block+n])
		copy(outer[block:], link[:])
		link = sha256.Sum256(outer[:])
	}
	return link
}
