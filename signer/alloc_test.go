//go:build !race

package signer

import "testing"

// The race detector makes sync.Pool drop entries at random, so this is not for
// it.
func TestVerifyingAPlainKeyAllocatesNothing(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	verifier.SetRevocations(mustRevocations(t, idA+"\nbefore 2001-01-01T00:00:00Z"))
	key := mustMint(t, false)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := verifier.Verify(key, beforeExpiry); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}
