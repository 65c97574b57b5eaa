//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package signer

import (
	"os"
	"sync"
)

var appending sync.Mutex

// lockFile locks out the other goroutines of this process only, because there is no
// flock.
func lockFile(*os.File) (unlock func(), err error) {
	appending.Lock()
	return appending.Unlock, nil
}

// syncDirectory does nothing: directories cannot be synced here.
func syncDirectory(string) error { return nil }
