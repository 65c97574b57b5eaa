package signer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// appendAttempts bounds how often appendToFile starts again because the file at the path
// was replaced meanwhile.
const appendAttempts = 10

var errReplaced = errors.New("the file is being replaced over and over")

// appendToFile locks the file at path against others who append to it, and has add
// write at its end. Size is how long the file is; lead is what must come before the
// first new line, so that it is a line of its own even if the file ends amid one.
// Add must sync what it writes.
//
//   - If there is no file, it makes one with the mode, and puts on disk that there
//     is one; if the mode is 0, the error is fs.ErrNotExist.
//   - If the file is not a regular one, or the path leads to another file over and
//     over, it returns an error.
func appendToFile(path string, mode fs.FileMode, add func(f *os.File, size int64, lead string) error) (err error) {
	for range appendAttempts {
		if err = appendOnce(path, mode, add); err != errReplaced {
			break
		}
	}
	return err
}

// appendOnce returns errReplaced if the file at the path was replaced meanwhile, so that
// nobody would read the new lines.
func appendOnce(path string, mode fs.FileMode, add func(f *os.File, size int64, lead string) error) error {
	// A FIFO without a reader would block for good.
	flags := os.O_RDWR | syscall.O_NONBLOCK
	if mode != 0 {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", path, errNotRegular)
	}
	unlock, err := lockFile(f)
	if err != nil {
		return fmt.Errorf("%s: locking it: %w", path, err)
	}
	defer unlock()
	size, err := sizeAt(path, f)
	if err != nil {
		return err
	}
	lead := ""
	if size == 0 {
		// Before the first line is written, so that no line can be lost with the file.
		if err := syncDirectory(path); err != nil {
			return err
		}
	} else {
		var last [1]byte
		if _, err := f.ReadAt(last[:], size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			lead = "\n"
		}
	}
	if err := add(f, size, lead); err != nil {
		return err
	}
	_, err = sizeAt(path, f)
	return err
}

// sizeAt returns the size of f, or errReplaced if path does not lead to f any more.
func sizeAt(path string, f *os.File) (int64, error) {
	held, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if found, err := os.Stat(path); err != nil || !os.SameFile(held, found) {
		return 0, errReplaced
	}
	return held.Size(), nil
}
