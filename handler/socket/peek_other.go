//go:build unix && (!linux || race || 386)

package socket

import "syscall"

// Peek checks, without reading or waiting, whether a socket has something to read. It
// returns nil if there are bytes or the stream has ended, syscall.EAGAIN if there is
// nothing, and any other error if the connection is broken.
func Peek(fd uintptr) error {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err
}
