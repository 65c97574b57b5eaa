//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package signer

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// lockFile waits until no other open file holds the lock.
func lockFile(f *os.File) (unlock func(), err error) {
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	return func() { syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }, err
}

// syncDirectory puts on disk that there is a file at path. Where symbolic
// links lead to it, it is their target's directory that counts.
func syncDirectory(path string) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(target))
	if err != nil {
		return err
	}
	defer dir.Close()
	// Some network file systems cannot sync a directory, and need not.
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
