//go:build unix

package handler

import "syscall"

// openFiles is how many the process may have: Go has raised the soft limit to
// the hard one.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 1 << 20
	}
	return uint64(limit.Cur)
}
