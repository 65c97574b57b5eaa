//go:build unix && (!linux || race || 386)

package socket

import "syscall"

// Peek looks whether there is a byte to be read, or the end.
func Peek(fd uintptr) error {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err
}
