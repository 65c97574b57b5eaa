// Package signer makes API keys that verify themselves, and checks them.
//
// # Format
//
// A key is printable ASCII:
//
//	key    = head *( "~" caveat ) "." tag
//	head   = "OLLAMA-" [ "ADMIN-" ] uuid       ; lower-case, 36 characters
//	caveat = base64url( name "=" value )       ; no padding
//	tag    = base64url( 32 bytes )             ; no padding, 43 characters
//
// The tag is the end of a chain of HMACs that starts at a secret only the
// server has:
//
//	t0  = HMAC-SHA256(secret, head)
//	ti  = HMAC-SHA256(t(i-1), caveat i exactly as it stands in the key)
//	tag = base64url(tn)
//
// # Properties
//
// Whoever has the secret can check a key without asking anyone, so replicas
// that share a secret share nothing else, and keys are minted offline.
//
// Whoever has a key can make a narrower one: its tag is the HMAC key for one
// more caveat ([Restrict]). Nobody can go back. Taking a caveat off, changing
// or reordering one needs an earlier tag, which the key no longer carries. A
// caveat only ever takes rights away, and of repeated caveats each must hold.
//
// Narrower keys keep the UUID of the key they came from, so revoking that UUID
// revokes the whole family. A narrower key may have a UUID of its own beside, in an id
// caveat: revoking that one ends the key and all made from it, and leaves its parent and
// siblings alone. Both stand on the same list. A line "before" is about the head's UUID
// only: that one tells when the key was minted, and is under the tag. An id is the word
// of whoever narrowed the key. Nothing but their own care keeps them from writing down a
// time long past, or the UUID of somebody else's key, so an id is never shown without the
// head's UUID, and by an id somebody who narrows a key can only lose it.
//
// # Limits that a server adds
//
// A server may limit keys that were minted without an rpm or a streams caveat. Whether one
// was there at the beginning, nobody can see from the caveats: a holder may have added it,
// with a number as high as they like, and must not get rid of the server's limit thereby. So the
// UUID of a key that [Mint] makes with such a caveat says so: it ends in 6f776e3d and a
// byte, 01 for rpm, 02 for streams, 03 for both. On others, which any program may make,
// the server's limit holds beside their own.
//
// # Secrets
//
// A secret is a line of text that is used as it stands: the HMAC key is its bytes. Those
// made here are "ollama-proxy-secret-" and 32 random bytes in base64url. From one secret
// others follow, each for a site or a tenant with a name of its own ([Derive]):
//
//	derived = "ollama-proxy-secret-" base64url( HMAC-SHA256(secret, "ollama-proxy secret for " name) )
//	name    = 1 to 64 of a-z, 0-9, ".", "_" and "-", of which the first is a letter or digit
//
// A derived secret is a secret like any other, and gives away neither the one it came
// from nor its siblings: no key's head begins as the text under this HMAC does, so no key
// has the bytes of a derived secret as a link of its chain.
//
// A server can have secrets for ADMIN keys alone ([Verifier.SetAdminSecrets]). Then ADMIN
// keys are good under these only and other keys under the others only.
//
// # Cost
//
// Verifying allocates nothing, whatever the key. It takes two blocks of SHA-256,
// and four for each caveat; a forged key takes as much for each secret in force.
//
// # Limits
//
// A key has at most 2,048 bytes and 16 caveats, and a secret file 16 secrets.
//
// A key is a bearer credential: whoever sees it has it, until it expires or is
// revoked. A stolen secret mints any key; only a new secret ends that. Neither
// rpm nor streams is counted beyond one replica.
package signer

import (
	"encoding/base64"
	"strings"

	"github.com/google/uuid"
)

const (
	// maxKeyLen bounds a key's text (2 KiB), so that nobody can make the
	// server hash megabytes; sixteen caveats of ordinary size fit.
	maxKeyLen = 2048

	// maxCaveats bounds the chain: each link costs an HMAC.
	maxCaveats = 16

	userPrefix  = "OLLAMA-"
	adminPrefix = "OLLAMA-ADMIN-"
	uuidLen     = 36
	tagLen      = 43
)

// encoding is base64url without padding. Strict refuses spare bits that are
// not zero, so that every byte string has exactly one spelling.
var encoding = base64.RawURLEncoding.Strict()

// parts is a key taken apart by shape alone: nothing in it is to be trusted,
// and no caveat has been decoded.
type parts struct {
	id      uuid.UUID
	admin   bool
	signed  string // head and caveats: all but the tag
	head    string
	caveats string // each preceded by "~", as they stand in the key
	tag     string
}

// split takes a key apart by shape and length. It looks at no more than the
// grammar; a part that splits may still be forged in every bit.
func split(text string) (p parts, ok bool) {
	if len(text) > maxKeyLen {
		return parts{}, false
	}
	// A dot that comes first has no head before it, and is refused below.
	dot := len(text) - tagLen - 1
	if dot < 0 || text[dot] != '.' || !hasOnlyBase64URL(text[dot+1:]) {
		return parts{}, false
	}
	p.signed, p.tag = text[:dot], text[dot+1:]

	prefix := userPrefix
	if strings.HasPrefix(text, adminPrefix) {
		prefix, p.admin = adminPrefix, true
	} else if !strings.HasPrefix(text, userPrefix) {
		return parts{}, false
	}
	headLen := len(prefix) + uuidLen
	if headLen > dot {
		return parts{}, false
	}
	p.head = text[:headLen]
	if p.id, ok = parseUUID(text[len(prefix):headLen]); !ok {
		return parts{}, false
	}

	p.caveats = text[headLen:dot]
	if p.caveats == "" {
		return p, true
	}
	if p.caveats[0] != '~' {
		return parts{}, false
	}
	n := 0
	for encoded := range p.encodedCaveats {
		if n++; n > maxCaveats || !isBase64URL(encoded) {
			return parts{}, false
		}
	}
	return p, true
}

// encodedCaveats yields each caveat as it stands in the key, and the key up to
// and with it.
func (p *parts) encodedCaveats(yield func(encoded, scope string) bool) {
	eachCaveat(p.signed, len(p.head), yield)
}

// eachCaveat does so for a key without its tag, whose head has so many bytes.
func eachCaveat(signed string, head int, yield func(encoded, scope string) bool) {
	for start := head; start < len(signed); {
		end := len(signed)
		// Of two "~" in a row split refuses the key, wherever the caveat is taken to end.
		if i := strings.IndexByte(signed[start+1:], '~'); i >= 0 {
			end = start + 1 + i
		}
		if !yield(signed[start+1:end], signed[:end]) {
			return
		}
		start = end
	}
}

// parseUUID accepts one spelling only: uuid.Parse also takes braces, URNs,
// capitals and no hyphens, and each would be one more key for the same holder. It
// allocates nothing.
func parseUUID[T string | []byte](s T) (id uuid.UUID, ok bool) {
	if len(s) != uuidLen {
		return uuid.UUID{}, false
	}
	at := 0
	for i := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			if s[at] != '-' {
				return uuid.UUID{}, false
			}
			at++
		}
		high, low := lowerHex[s[at]], lowerHex[s[at+1]]
		if high|low > 0xf {
			return uuid.UUID{}, false
		}
		id[i] = high<<4 | low
		at += 2
	}
	return id, true
}

// lowerHex gives the value of each lower-case hexadecimal digit, and 0xff for all other
// characters.
var lowerHex = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xff
	}
	for value, digit := range []byte("0123456789abcdef") {
		values[digit] = byte(value)
	}
	return values
}()

// isBase64URL reports whether s is the one spelling of some bytes in base64url.
// Nothing is decoded to find out.
func isBase64URL(s string) bool {
	if len(s) == 0 || !hasOnlyBase64URL(s) {
		return false
	}
	last := strings.IndexByte(base64URL, s[len(s)-1])
	switch len(s) % 4 {
	case 1:
		return false // six bits make no byte
	case 2:
		return last&0b1111 == 0
	case 3:
		return last&0b11 == 0
	}
	return true
}

const base64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// inBase64URL tells the characters of base64url from others.
var inBase64URL = func() (in [256]bool) {
	for _, c := range []byte(base64URL) {
		in[c] = true
	}
	return in
}()

func hasOnlyBase64URL(s string) bool {
	good := true
	for i := range len(s) {
		good = good && inBase64URL[s[i]]
	}
	return good
}
