//go:build unix

package downstream

import "syscall"

// Descriptors is how many files and connections the process may have open at
// once; 0: that is not known.
func Descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), 1<<30))
}
