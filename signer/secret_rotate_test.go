//go:build linux

package signer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var rotated = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func mustSecrets(tb testing.TB, path string) []Secret {
	tb.Helper()
	secrets, _, err := ReadSecrets(path)
	if err != nil {
		tb.Fatal(err)
	}
	return secrets
}

// Keys of the old secret hold from the rotation to the retirement, those of the new
// one from the rotation on.
func TestRotateAndRetire(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	old, err := CreateSecretFile(path)
	if err != nil {
		t.Fatal(err)
	}
	was := "# mine\n\n" + mustRead(t, path) + "# the end, without a newline"
	if err := os.WriteFile(path, []byte(was), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := RotateSecret(path, rotated); err != nil {
		t.Fatal(err)
	}
	text := mustRead(t, path)
	secrets := mustSecrets(t, path)
	if len(secrets) != 2 || secrets[0].Equal(old) || !secrets[1].Equal(old) || !strings.HasPrefix(text, "# rotated 2026-01-02T03:04:05Z\n") || !strings.HasSuffix(text, "\n"+was) {
		t.Fatalf("%d secrets, %q", len(secrets), text)
	}
	if err := RetireSecrets(path, Fingerprint(secrets)+1); !errors.Is(err, ErrSecretsChanged) || mustRead(t, path) != text {
		t.Errorf("with other secrets than we know of: %v", err)
	}
	if err := RetireSecrets(path, Fingerprint(secrets)); err != nil {
		t.Fatal(err)
	}
	left := mustSecrets(t, path)
	if len(left) != 1 || !left[0].Equal(secrets[0]) || strings.Count(mustRead(t, path), "\n") != 2 || !strings.HasPrefix(text, mustRead(t, path)) {
		t.Errorf("%q", mustRead(t, path))
	}
	if err := RetireSecrets(path, Fingerprint(left)); err != nil || len(mustSecrets(t, path)) != 1 {
		t.Errorf("once more: %v", err)
	}
}

func TestRotationKeepsModeOwnerAndLink(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "secret"), filepath.Join(dir, "link")
	if _, err := CreateSecretFile(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("secret", link); err != nil {
		t.Fatal(err)
	}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 65532, 65533
	}
	for _, mode := range []fs.FileMode{0o600, 0o640, 0o400, 0o444} {
		if err := errors.Join(os.Chmod(path, mode), os.Chown(path, uid, gid)); err != nil {
			t.Fatal(err)
		}
		before := len(mustSecrets(t, path))
		if err := RotateSecret(link, rotated); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		if info.Mode() != mode || int(stat.Uid) != uid || int(stat.Gid) != gid || len(mustSecrets(t, link)) != before+1 {
			t.Errorf("%v: now %v of %d:%d", mode, info.Mode(), stat.Uid, stat.Gid)
		}
	}
	if to, err := os.Readlink(link); err != nil || to != "secret" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, ".*")); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

// Each line of these would do as a secret.
func TestWhatIsNoSecretFileStays(t *testing.T) {
	dir := t.TempDir()
	ledger := filepath.Join(dir, "minted")
	mustNote(t, ledger, mustMint(t, false))
	for name, text := range map[string]string{
		"a ledger": mustRead(t, ledger), "a list": "# gone\n" + idA + " lost\n", "a list's time": "before 2026-01-01T00:00:00Z all of them\n",
		"a key": mustMint(t, true) + "\n", "a certificate": "-----BEGIN CERTIFICATE-----------\n" + manySecrets(2) + "-----END CERTIFICATE------------\n",
	} {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		secrets, _, err := ReadSecrets(path)
		if err != nil {
			t.Fatalf("%s would not do as secrets: %v", name, err)
		}
		for _, err := range []error{RotateSecret(path, rotated), RetireSecrets(path, Fingerprint(secrets))} {
			if err == nil || !strings.Contains(err.Error(), "no secret file") || mustRead(t, path) != text {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestWhatCannotBeRotatedStays(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"none": "# no secret\n", "short": "hunter2-hunter2-hunter2\n", "sixteen": manySecrets(maxSecrets), "long": manySecrets(1) + strings.Repeat("#", maxSecretFile-50)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := RotateSecret(path, rotated)
		if err == nil || mustRead(t, path) != text || !strings.Contains(err.Error(), path) || name != "none" && strings.Contains(err.Error(), text[:12]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "nowhere"), "/dev/null"} {
		if err := RotateSecret(path, rotated); err == nil || !strings.HasPrefix(err.Error(), "secret file: ") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(dir, ".*")); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

// Who may write in the directory, but is not the file's owner, would leave a file that
// its owner cannot read.
func TestAnothersSecretIsNotTaken(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make another's file")
	}
	path := filepath.Join(t.TempDir(), "secret")
	if _, err := CreateSecretFile(path); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	if err := errors.Join(os.Chmod(path, 0o644), os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	before := mustRead(t, path)
	asNobody(t, func() {
		if err := RotateSecret(path, rotated); err == nil {
			t.Error("it was replaced")
		}
	})
	if names, _ := filepath.Glob(filepath.Join(dir, ".*")); mustRead(t, path) != before || len(names) != 0 {
		t.Errorf("it changed, or left %v", names)
	}
}

func TestRotationsAtOnceLoseNoSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if _, err := CreateSecretFile(path); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	results := make([]error, maxSecrets-1)
	for i := range results {
		wg.Go(func() { results[i] = RotateSecret(path, rotated) })
	}
	wg.Wait()
	good := 0
	for _, err := range results {
		if err == nil {
			good++
		} else if !strings.Contains(err.Error(), "over and over") {
			t.Error(err)
		}
	}
	secrets := mustSecrets(t, path)
	distinct := map[string]bool{}
	for _, s := range secrets {
		distinct[fmt.Sprint(Fingerprint([]Secret{s}))] = true
	}
	if len(secrets) != good+1 || len(distinct) != len(secrets) {
		t.Errorf("%d rotations, %d secrets, %d of them different", good, len(secrets), len(distinct))
	}
}
