package signer

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"unicode"
)

const (
	// SecretPrefix is how secrets begin that are made here, so that scanners find one
	// where it should not be. It is part of the secret.
	SecretPrefix = "ollama-proxy-secret-"

	// minSecretLen is the least text a secret may have, behind SecretPrefix if it has
	// that: 32 bytes, what HMAC-SHA256 can use in full.
	minSecretLen = 32

	// maxSecrets bounds the secrets in force: 16. A rotation needs two, and a
	// forged key is tried under each.
	maxSecrets = 16

	// maxSecretFile bounds what is read from a secret file: 64 KiB.
	maxSecretFile = 64 << 10
)

// Secret is the server's secret: it mints and verifies keys. It cannot be
// printed: every fmt verb, JSON and slog show "[secret]" in its place.
// The zero Secret signs nothing; functions that take one panic on it.
type Secret struct {
	// In a struct's unexported field fmt does not call Format, and a verb
	// that does not fit makes it follow pointers; a function it never opens.
	text func() []byte
}

// ParseSecret takes a secret's text, trimmed of surrounding white space. If it
// is shorter than 32 bytes, without [SecretPrefix], holds control characters, or is a placeholder such
// as "change-me…" or one character over and over, ParseSecret says so. It also refuses
// what stands in quotes, or holds characters that nobody sees, such as a byte order
// mark: other programs that sign with the secret might leave them out, or might not.
// The error never shows the text.
func ParseSecret(text string) (Secret, error) {
	text = strings.TrimSpace(text)
	random, prefixed := strings.CutPrefix(text, SecretPrefix)
	switch {
	case text == "":
		return Secret{}, errors.New("the secret is empty")
	case prefixed && len(random) < minSecretLen:
		return Secret{}, fmt.Errorf("the secret has %d bytes after %s, at least %d are needed", len(random), SecretPrefix, minSecretLen)
	case len(text) < minSecretLen:
		return Secret{}, fmt.Errorf("the secret has %d bytes, at least %d are needed", len(text), minSecretLen)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Secret{}, errors.New("the secret holds control characters")
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.Cf, r) }):
		return Secret{}, errors.New("the secret holds invisible characters, such as a byte order mark: save it as UTF-8 without one")
	case isQuote(text[0]) || isQuote(text[len(text)-1]):
		return Secret{}, errors.New("the secret stands in quotes: take them off")
	case isPlaceholder(random):
		return Secret{}, errors.New("the secret is a placeholder; make one with `ollama-proxy secret`")
	}
	return newSecret(text), nil
}

func isQuote(c byte) bool { return c == '"' || c == '\'' }

// isPlaceholder tells what people copy from examples from what a generator
// printed.
func isPlaceholder(text string) bool {
	lower := strings.ToLower(text)
	for _, word := range []string{"changeme", "change-me", "change_me", "change this", "replaceme", "replace-me", "replace_me", "replace-with", "replace_with", "replace with", "your-secret", "your_secret", "yoursecret", "your secret", "placeholder"} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	distinct := map[rune]bool{}
	for _, r := range lower {
		distinct[r] = true
	}
	return len(distinct) < 6
}

// NewSecret returns a new random secret of 256 bits and its text: [SecretPrefix] and 43
// characters of base64url.
func NewSecret() (s Secret, text string) {
	random := make([]byte, 32)
	rand.Read(random)
	text = SecretPrefix + encoding.EncodeToString(random)
	return newSecret(text), text
}

func newSecret(text string) Secret {
	b := []byte(text)
	return Secret{func() []byte { return b }}
}

// ParseSecrets reads a secret file: one secret a line, empty lines and lines
// that start with "#" left out. The first secret mints, every one verifies.
// If a line is no secret, or one more than 16, the error names its number. If
// there is none at all, that is an error too.
func ParseSecrets(r io.Reader) ([]Secret, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSecretFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSecretFile {
		return nil, fmt.Errorf("more than %d bytes", maxSecretFile)
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, errors.New("it is UTF-16: save it as UTF-8")
	}
	var secrets []Secret
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := ParseSecret(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if len(secrets) == maxSecrets {
			return nil, fmt.Errorf("line %d: more than %d secrets: take out those that made no key still in use", i+1, maxSecrets)
		}
		secrets = append(secrets, s)
	}
	if len(secrets) == 0 {
		return nil, errors.New("no secret in it")
	}
	return secrets, nil
}

// ReadSecrets reads the secret file at path, see [ParseSecrets]. It reports
// whether others than the owner may read the file, which deserves a warning;
// on Windows it cannot tell.
func ReadSecrets(path string) (secrets []Secret, exposed bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("secret file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("secret file: %w", err)
	}
	if secrets, err = ParseSecrets(f); err != nil {
		return nil, false, fmt.Errorf("secret file %s: %w", path, err)
	}
	// Go makes these bits up on Windows, where access lists count.
	return secrets, info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 && runtime.GOOS != "windows", nil
}

// CreateSecretFile makes a new secret and writes it to a new file that only
// its owner may read (0600). If there is already a file at path, it is left as
// it is and CreateSecretFile fails. A file that could not be written in full
// is removed.
func CreateSecretFile(path string) (Secret, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Secret{}, fmt.Errorf("secret file: %w", err)
	}
	s, text := NewSecret()
	_, err = io.WriteString(f, text+"\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		os.Remove(path)
		return Secret{}, fmt.Errorf("secret file: %w", err)
	}
	return s, nil
}

// Fingerprint is a number that is the same wherever the same secrets are in
// force in the same order, and gives none of them away. It has 48 bits, so
// that a float64 holds it exactly.
func Fingerprint(secrets []Secret) uint64 {
	all := sha256.New()
	for _, s := range secrets {
		mac := hmac.New(sha256.New, s.text())
		mac.Write([]byte("ollama-proxy fingerprint"))
		all.Write(mac.Sum(nil))
	}
	return binary.BigEndian.Uint64(all.Sum(nil)) >> 16
}

// Equal reports whether two secrets are the same, in constant time.
func (s Secret) Equal(t Secret) bool { return hmac.Equal(s.text(), t.text()) }

const unprintable = "[secret]"

// Format writes "[secret]" whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, unprintable) }

// MarshalText gives "[secret]".
func (Secret) MarshalText() ([]byte, error) { return []byte(unprintable), nil }

// LogValue gives "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue(unprintable) }
