//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package signer

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestAFileSystemThatCannotLock: nothing is added without a lock, and a signal is no
// reason to give up.
func TestAFileSystemThatCannotLock(t *testing.T) {
	defer func(was func(int, int) error) { flock = was }(flock)
	path := filepath.Join(t.TempDir(), "revocations")
	ids := []uuid.UUID{uuid.MustParse(idA)}
	flock = func(int, int) error { return syscall.ENOLCK }
	if added, err := AppendRevocations(path, Additions{IDs: ids, Create: true}); added != 0 || !errors.Is(err, syscall.ENOLCK) || mustRead(t, path) != "" {
		t.Errorf("%d added, %v", added, err)
	}
	interrupted := 0
	flock = func(fd, how int) error {
		if how == syscall.LOCK_EX && interrupted < 3 {
			interrupted++
			return syscall.EINTR
		}
		return syscall.Flock(fd, how)
	}
	mustAppend(t, path, ids, "", time.Time{}, 1)
	if interrupted != 3 {
		t.Errorf("it was interrupted %d times", interrupted)
	}
	closed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if _, err := lockFile(closed); err == nil {
		t.Error("a closed file is locked")
	}
}

// TestADirectoryThatCannotBeSynced: where the file might be lost, that is an error and
// the lines are not reported as added; where syncing means nothing, it is none.
func TestADirectoryThatCannotBeSynced(t *testing.T) {
	defer func(was func(*os.File) error) { syncOpen = was }(syncOpen)
	ids := []uuid.UUID{uuid.MustParse(idA)}
	for _, row := range []struct {
		cause error
		fails bool
	}{{syscall.EIO, true}, {syscall.ENOSPC, true}, {syscall.EINVAL, false}, {errors.ErrUnsupported, false}, {syscall.ENOTSUP, false}, {nil, false}} {
		path := filepath.Join(t.TempDir(), "revocations")
		synced := ""
		syncOpen = func(dir *os.File) error {
			synced = dir.Name()
			return row.cause
		}
		added, err := AppendRevocations(path, Additions{IDs: ids, Create: true})
		if (err != nil) != row.fails || row.fails && !errors.Is(err, row.cause) || added == 1 == row.fails {
			t.Errorf("%v: %d added, %v", row.cause, added, err)
		}
		if synced != filepath.Dir(path) {
			t.Errorf("synced was %q", synced)
		}
	}
	if err := syncDirectory(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
