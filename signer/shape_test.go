package signer

import (
	"strings"
	"testing"
)

// TestHasShapeAgreesWithVerify: what has not the shape is malformed, and what has it is
// judged by its tag.
func TestHasShapeAgreesWithVerify(t *testing.T) {
	secret, _ := NewSecret()
	other, _ := NewSecret()
	label, err := NewCaveat("label", "alice")
	if err != nil {
		t.Fatal(err)
	}
	key, err := Mint(secret, true, label)
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(other)
	for i := range key {
		for _, text := range []string{key[:i], key[i:], key[:i] + "\"" + key[i:], key[:i] + "A" + key[i+1:], strings.ToUpper(key[:i]) + key[i:]} {
			_, err := v.Verify(text, beforeExpiry)
			if got, want := HasShape(text), err == ErrBadSignature; got != want {
				t.Errorf("%d: HasShape is %t, and Verify says %v", i, got, err)
			}
		}
	}
	if !HasShape(key) || HasShape("") || HasShape(strings.Repeat("A", 1<<20)) {
		t.Error("a key has its shape, and nothing else")
	}
	if n := testing.AllocsPerRun(100, func() { HasShape(key) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
