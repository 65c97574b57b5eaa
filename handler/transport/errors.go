package transport

import (
	"errors"
	"io"
	"net"

	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// IsRefused reports whether the connection could not be opened, for whatever reason, so
// that no byte of the request was sent.
func IsRefused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// earlyReset wraps an error that occurred before any byte of the response arrived.
type earlyReset struct{ error }

// Unwrap returns the error itself.
func (u earlyReset) Unwrap() error { return u.error }

// IsEarlyReset reports whether Ollama closed the connection before any byte of the
// response arrived. It may have begun to work on the request.
func IsEarlyReset(err error) bool {
	return errors.As(err, new(earlyReset)) && (socket.IsDisconnect(err) || errors.Is(err, io.EOF))
}

// ErrNotHTTP is returned by RoundTrip if the response does not begin as HTTP/1.
var ErrNotHTTP = errors.New("not a proper HTTP answer")
