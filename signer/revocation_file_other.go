//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package signer

import (
	"os"
	"sync"
)

var appending sync.Mutex

// lockFile keeps apart what one process does, for want of flock.
func lockFile(*os.File) (unlock func(), err error) {
	appending.Lock()
	return appending.Unlock, nil
}

// syncDirectory does nothing: directories cannot be synced here.
func syncDirectory(string) error { return nil }
