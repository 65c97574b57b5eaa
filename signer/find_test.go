//go:build linux

package signer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asNobody runs f as a user who is not root, where the tests run as root.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	if err := syscall.Setreuid(-1, 65534); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setreuid(-1, 0); err != nil {
			panic(err)
		}
	}()
	f()
}

func TestTheMachinesSecretComesBeforeTheUsersOwn(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("HOME", home)
	was := SystemSecretFile
	t.Cleanup(func() { SystemSecretFile = was })
	SystemSecretFile = filepath.Join(dir, "secret")

	if found, err := FindSecrets(""); err != ErrNoSecret || found.Denied || found.Revocations("") != "" || found.Ledger("") != "" {
		t.Errorf("no secret at all: %+v, %v", found, err)
	}
	own, err := MakeDefaultSecret()
	if err != nil {
		t.Fatal(err)
	}
	if found, err := FindSecrets(""); err != nil || found.Path != own.Path || !found.Default || found.Denied {
		t.Errorf("the user's own: %+v, %v", found, err)
	}
	if _, err := CreateSecretFile(SystemSecretFile); err != nil {
		t.Fatal(err)
	}
	found, err := FindSecrets("")
	if err != nil || found.Path != SystemSecretFile || !found.Default || found.Denied {
		t.Errorf("the machine's: %+v, %v", found, err)
	}
	if got := found.Revocations(""); got != filepath.Join(dir, "revocations") {
		t.Errorf("its list: %q", got)
	}
	if found, err := FindSecrets(own.Path); err != nil || found.Path != own.Path || found.Default {
		t.Errorf("one that was named: %+v, %v", found, err)
	}

	// What is there and holds no secret is no reason to take another.
	if err := os.WriteFile(SystemSecretFile, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FindSecrets(""); err == nil || !strings.Contains(err.Error(), SystemSecretFile) {
		t.Errorf("a bad one: %v", err)
	}
}

func TestASecretThatIsNotForUsIsPassedOver(t *testing.T) {
	dir := t.TempDir()
	was := SystemSecretFile
	t.Cleanup(func() { SystemSecretFile = was })
	SystemSecretFile = filepath.Join(dir, "secret")
	if _, err := CreateSecretFile(SystemSecretFile); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(SystemSecretFile, 0); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "nowhere")
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("HOME", home)
	asNobody(t, func() {
		if found, err := FindSecrets(""); !found.Denied || err == nil {
			t.Errorf("%+v, %v", found, err)
		}
		if _, err := FindSecrets(SystemSecretFile); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "sudo") {
			t.Errorf("where it is named: %v", err)
		}
	})
}
