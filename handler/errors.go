package handler

import (
	"errors"
	"io"
	"syscall"
	"time"
)

func isDisconnect(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)
