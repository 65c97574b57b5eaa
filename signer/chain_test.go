package signer

import (
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

// FuzzChain holds the HMACs that are written out here to those of crypto/hmac.
func FuzzChain(f *testing.F) {
	f.Add(testSecret, "a")
	f.Add(strings.Repeat("s", sha256.BlockSize), strings.Repeat("b", 55))
	f.Add(strings.Repeat("s", sha256.BlockSize+1), strings.Repeat("b", 56))
	f.Add(strings.Repeat("s", 1000), strings.Repeat("b", 64)+"~"+strings.Repeat("c", 1700))
	f.Add("", strings.Repeat("a~bb~ccc~dddd~", 5)+"e")
	f.Fuzz(func(t *testing.T, secret, caveats string) {
		head := userPrefix + idA
		p := parts{signed: head + "~" + caveats, head: head, caveats: "~" + caveats}
		if len(p.signed)+len(".")+tagLen > maxKeyLen {
			return
		}
		want, got := []byte(secret), newRoot(newSecret(secret)).hmac(head)
		tag := ""
		fips140.WithoutEnforcement(func() { // it has crypto/hmac refuse short keys, which no secret is
			for _, text := range strings.Split(p.signed, "~") {
				h := hmac.New(sha256.New, want)
				h.Write([]byte(text))
				want = h.Sum(nil)
			}
			tag = referenceTag(secret, p.signed)
		})
		if got = p.chain(got); string(got[:]) != string(want) {
			t.Errorf("%x, not %x", got, want)
		}
		if encoding.EncodeToString(want) != tag {
			t.Error("the reference contradicts itself")
		}
	})
}

// Test cases 1 and 2 of RFC 4231.
func TestHMACsOfTheRFC(t *testing.T) {
	for _, row := range []struct{ key, text, want string }{
		{strings.Repeat("\x0b", 20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	} {
		if got := newRoot(newSecret(row.key)).hmac(row.text); hex.EncodeToString(got[:]) != row.want {
			t.Errorf("%q under %q: %x", row.text, row.key, got)
		}
	}
}

// Keys of every length that a caveat can have are verified as they are minted.
func TestChainsOfEveryLength(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	for n := range maxKeyLen {
		value := "models=" + strings.Repeat("a,", n/2) + strings.Repeat("b", 1+n%2)
		key := userPrefix + idA + "~" + encoding.EncodeToString([]byte(value))
		key += "." + referenceTag(testSecret, key)
		if len(key) > maxKeyLen {
			return
		}
		if _, err := verifier.Verify(key, beforeExpiry); err != nil {
			t.Fatalf("%d bytes: %v", len(key), err)
		}
		at := rand.IntN(len(key) - tagLen - 1 - len(userPrefix))
		if _, err := verifier.Verify(changedAt(key, len(userPrefix)+at), beforeExpiry); err == nil {
			t.Fatalf("%d bytes, changed at %d: accepted", len(key), at)
		}
	}
	t.Error("no key was too long")
}

func changedAt(key string, at int) string {
	other := "0"
	if key[at] == '0' {
		other = "1"
	}
	return key[:at] + other + key[at+1:]
}
