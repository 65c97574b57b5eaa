package socket

import (
	"errors"
	"io"
	"syscall"
	"time"
)

func IsDisconnect(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// LongAgo is a deadline that has passed.
var LongAgo = time.Unix(1, 0)
