package signer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAdminVectors(t *testing.T) {
	v := readVectors(t).Admin
	verifier := NewVerifier(mustSecret(t, v.Secret))
	verifier.SetAdminSecrets([]Secret{mustSecret(t, v.AdminSecret)})
	for _, key := range v.Valid {
		u, err := Inspect(key)
		if err != nil {
			t.Fatal(err)
		}
		secret := v.Secret
		if u.Admin {
			secret = v.AdminSecret
		}
		signed, tag, _ := strings.Cut(key, ".")
		if tag != referenceTag(secret, signed) {
			t.Errorf("%s has not the tag that it should have", u.Name())
		}
		if got, err := verifier.Verify(key, beforeExpiry); err != nil || got.Admin != u.Admin {
			t.Errorf("%s: admin %t, %v", u.Name(), got.Admin, err)
		}
	}
	for _, row := range v.Refused {
		if _, err := verifier.Verify(row.Key, beforeExpiry); !errors.Is(err, ErrBadSignature) {
			t.Errorf("%s: %v", row.Why, err)
		}
	}
}

// writeSecrets writes a secret file.
func writeSecrets(t *testing.T, path string, secrets ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(secrets, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAdminKeysHaveSecretsOfTheirOwn: in all three ways in which a replica can be set up,
// and after each rotation.
func TestAdminKeysHaveSecretsOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	ordinary, adminFile := filepath.Join(dir, "secret"), filepath.Join(dir, "admin")
	_, first := NewSecret()
	_, second := NewSecret()
	_, third := NewSecret()
	writeSecrets(t, ordinary, first)
	writeSecrets(t, adminFile, second)
	mint := func(secret string, admin bool) string {
		key, err := Mint(mustSecret(t, secret), admin)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	found, err := FindSecrets(ordinary)
	if err != nil {
		t.Fatal(err)
	}
	open := func(path string) *Keyring {
		t.Helper()
		keys, err := OpenKeyring(t.Context(), found, "")
		if err != nil {
			t.Fatal(err)
		}
		if path == "" {
			return keys
		}
		admin, err := FindAdminSecrets(path)
		if err == nil {
			err = keys.UseAdminSecrets(admin)
		}
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	check := func(when string, keys *Keyring, secret string, admin, want bool) {
		t.Helper()
		if _, err := keys.Verify(mint(secret, admin), beforeExpiry); (err == nil) != want || err != nil && !errors.Is(err, ErrBadSignature) {
			t.Errorf("%s, admin %t: %v", when, admin, err)
		}
	}
	plain, apart, none := open(""), open(adminFile), open(NoAdmin)
	for _, k := range []*Keyring{plain, apart, none} {
		check("an ordinary key", k, first, false, true)
		check("an ordinary key of the other secret", k, second, false, false)
	}
	check("one secret for all", plain, first, true, true)
	check("one secret for all", plain, second, true, false)
	check("a file for ADMIN keys", apart, first, true, false)
	check("a file for ADMIN keys", apart, second, true, true)
	check("no ADMIN keys", none, first, true, false)
	check("no ADMIN keys", none, second, true, false)
	if plain.SecretFingerprint() != apart.SecretFingerprint() {
		t.Error("the secrets of ADMIN keys count in the fingerprint")
	}

	for _, k := range []*Keyring{plain, none} {
		if changed, err := k.ReloadAdminSecrets(t.Context(), true); changed || err != nil {
			t.Errorf("nothing to load: %t, %v", changed, err)
		}
	}
	writeSecrets(t, adminFile, third, second)
	if changed, err := apart.ReloadAdminSecrets(t.Context(), false); !changed || err != nil {
		t.Errorf("rotated: %t, %v", changed, err)
	}
	check("rotated, old", apart, second, true, true)
	check("rotated, new", apart, third, true, true)
	for _, bad := range [][]string{{third, "short"}, {}, {third, first}} {
		writeSecrets(t, adminFile, bad...)
		if changed, err := apart.ReloadAdminSecrets(t.Context(), true); changed || err == nil || strings.Contains(err.Error(), first) {
			t.Errorf("a bad file: %t, %v", changed, err)
		}
		check("after a bad file", apart, second, true, true)
		check("after a bad file", apart, first, true, false)
	}
	writeSecrets(t, ordinary, second, first)
	if changed, err := apart.ReloadSecrets(t.Context(), true); changed || err == nil || !strings.Contains(err.Error(), "ADMIN") {
		t.Errorf("a secret of ADMIN keys among the others: %t, %v", changed, err)
	}
	check("afterwards", apart, second, false, false)
	check("afterwards", apart, first, false, true)
}

func TestAdminSecretsThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "admin")
	if _, err := FindAdminSecrets(path); err == nil || !strings.Contains(err.Error(), "ADMIN") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	writeSecrets(t, path, testSecret)
	found, err := FindAdminSecrets(path)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := OpenKeyring(t.Context(), Found{Secrets: []Secret{mustSecret(t, testSecret)}}, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.UseAdminSecrets(found); err == nil || strings.Contains(err.Error(), testSecret) {
		t.Errorf("the same secret on both sides: %v", err)
	}
	key := mustMint(t, true)
	if _, err := keys.Verify(key, beforeExpiry); err != nil {
		t.Errorf("what was in force: %v", err)
	}
}
