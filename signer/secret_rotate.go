package signer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// RotateSecret makes a new secret and puts it on a first line of its own in the secret
// file at path, with a comment that has the date: new keys are made with it, and old
// ones go on. What was in the file stays below, byte for byte.
//
//   - Who reads the file finds the old content or the new one. Mode and owner stay. If
//     a symbolic link leads to the file, it goes on leading there.
//   - If the file holds no secrets, or 16 already, or cannot be replaced with the same
//     owner, RotateSecret says so and the file stays as it is.
//
// Two who do so at once, or one and [RetireSecrets], do it one after the other, but on
// systems without flock, such as Windows.
func RotateSecret(path string, now time.Time) error {
	return rewriteSecrets(path, func(old []byte) ([]byte, error) {
		if secrets, _ := ParseSecrets(bytes.NewReader(old)); len(secrets) == maxSecrets {
			return nil, fmt.Errorf("it has %d secrets already: --retire takes out all but the first", maxSecrets)
		}
		_, text := NewSecret()
		// White space at the start of a file would be before the first line.
		return append(fmt.Appendf(nil, "# rotated %s\n%s\n", now.UTC().Format(time.RFC3339), text), old...), nil
	})
}

// ErrSecretsChanged means that a secret file holds other secrets than it did before.
var ErrSecretsChanged = errors.New("the secret file has been changed meanwhile")

// RetireSecrets takes all secrets but the first out of the secret file at path, and
// all that stands after the first. It holds for it what holds for [RotateSecret]. If
// the file's secrets are not those with the [Fingerprint], which are those that the
// caller knows, RetireSecrets returns ErrSecretsChanged and the file stays as it is.
func RetireSecrets(path string, fingerprint uint64) error {
	return rewriteSecrets(path, func(old []byte) ([]byte, error) {
		secrets, err := ParseSecrets(bytes.NewReader(old))
		if err != nil {
			return nil, err
		}
		if Fingerprint(secrets) != fingerprint {
			return nil, ErrSecretsChanged
		}
		var kept []byte
		for line := range bytes.Lines(old) {
			kept = append(kept, line...)
			if line := bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
				break
			}
		}
		return kept, nil
	})
}

// rewriteSecrets puts in the place of the file's content what change makes of it.
func rewriteSecrets(path string, change func(old []byte) ([]byte, error)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("secret file: %w", err)
		}
	}()
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for range appendAttempts {
		if err = rewriteOnce(target, change); err != errReplaced {
			break
		}
	}
	return err
}

// rewriteOnce gives errReplaced if another has replaced the file before us.
func rewriteOnce(path string, change func(old []byte) ([]byte, error)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", path, errNotRegular)
	}
	unlock, err := lockFile(f)
	if err != nil {
		return fmt.Errorf("%s: locking it: %w", path, err)
	}
	defer unlock()
	if _, err := sizeAt(path, f); err != nil {
		return err
	}
	old, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return err
	}
	if _, err := ParseSecrets(bytes.NewReader(old)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if isOtherFile(old) {
		return fmt.Errorf("%s: %w", path, errOtherFile)
	}
	text, err := change(old)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if _, err := ParseSecrets(bytes.NewReader(text)); err != nil {
		return fmt.Errorf("%s would not do any more: %w", path, err)
	}
	return replaceFile(path, info, text)
}

var errOtherFile = errors.New("this is no secret file: it looks like a ledger, a list of revoked keys, a key or a certificate")

// isOtherFile tells files of other kinds, of which each line would do as a secret: who
// names one by mistake would lose it.
func isOtherFile(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0 || line[0] == '#':
			continue
		case line[0] == '{', bytes.HasPrefix(line, []byte(userPrefix)), bytes.HasPrefix(line, []byte("-----")):
			return true
		}
		if (&collection{}).addLine(line) == nil {
			return true
		}
	}
	return false
}

// replaceFile puts a file with the text in the place of the one at path, whose mode
// and owner are in info.
func replaceFile(path string, info os.FileInfo, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+strings.TrimLeft(filepath.Base(path), ".")+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(text); err != nil {
		return err
	}
	// The owner first: a change of owner may take bits of the mode away.
	if err := keepOwner(f, info); err != nil {
		return fmt.Errorf("%s: it cannot be replaced by a file with the same owner: %w", path, err)
	}
	if err := f.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDirectory(path)
}
