//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package signer

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// What a file system can refuse. Tests have it do so.
var (
	flock    = syscall.Flock
	syncOpen = (*os.File).Sync
)

// lockFile waits for an exclusive lock on the file.
func lockFile(f *os.File) (unlock func(), err error) {
	for {
		err = flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	return func() { syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }, err
}

// syncDirectory makes sure that the directory entry of the file at path is on disk. If
// path is a symbolic link, that is the entry of its target.
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
	if err := syncOpen(dir); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}
