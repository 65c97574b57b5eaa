package signer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// referenceSecret derives a secret with crypto/hmac and nothing of this package.
func referenceSecret(from, name string) string {
	h := hmac.New(sha256.New, []byte(from))
	h.Write([]byte("ollama-proxy secret for " + name))
	return "ollama-proxy-secret-" + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func TestDerivedSecrets(t *testing.T) {
	v := readVectors(t)
	for _, row := range v.Derived {
		secret, text, err := Derive(mustSecret(t, row.Secret), row.Name)
		if err != nil || text != row.Derived || text != referenceSecret(row.Secret, row.Name) || !secret.Equal(mustSecret(t, text)) {
			t.Errorf("%s: %v, or another secret than it says", row.Name, err)
			continue
		}
		made, err := chain(row.Head, link(secret.text(), row.Head), mustCaveats(t, row.Caveats...))
		if err != nil || made != row.Key {
			t.Errorf("%s: minting gives another key (%v)", row.Name, err)
		}
		if _, err := NewVerifier(secret).Verify(row.Key, beforeExpiry); err != nil {
			t.Errorf("%s: %v", row.Name, err)
		}
		if _, err := NewVerifier(mustSecret(t, row.Secret)).Verify(row.Key, beforeExpiry); !errors.Is(err, ErrBadSignature) {
			t.Errorf("%s: under the secret it was derived from: %v", row.Name, err)
		}
		if u, err := ParseSecrets(strings.NewReader(text)); err != nil || len(u) != 1 {
			t.Errorf("%s: it is not fit for a secret file: %v", row.Name, err)
		}
	}
	for _, name := range v.RefusedNames {
		if _, text, err := Derive(mustSecret(t, testSecret), name); err == nil || text != "" || strings.Contains(err.Error(), testSecret) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A site's secret is no other's, and makes no keys that another site takes.
func TestDerivedSecretsAreApart(t *testing.T) {
	master := mustSecret(t, testSecret)
	seen := map[string]string{testSecret: "the master"}
	var all []Secret
	for _, name := range []string{"a", "b", "a.b", "a-b", "ab", "0", "admin"} {
		secret, text, err := Derive(master, name)
		if err != nil || seen[text] != "" {
			t.Errorf("%s has the secret of %s (%v)", name, seen[text], err)
		}
		seen[text] = name
		all = append(all, secret)
	}
	for i, secret := range all {
		key, err := Mint(secret, false)
		if err != nil {
			t.Fatal(err)
		}
		for j, other := range append(all, master) {
			if _, err := NewVerifier(other).Verify(key, beforeExpiry); (err == nil) != (i == j) {
				t.Errorf("a key of %d is verified by %d: %v", i, j, err)
			}
		}
	}
}
