package socket

import (
	"errors"
	"io"
	"syscall"
	"time"
)

// IsDisconnect reports whether the other side closed the connection before the end: a
// reset, a write to a closed connection, or a stream that ended too early
// (io.ErrUnexpectedEOF). A plain io.EOF is none.
func IsDisconnect(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// LongAgo is a deadline in the past: a call under it returns at once.
var LongAgo = time.Unix(1, 0)
