package transport

import (
	"errors"
	"io"
	"net"

	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// IsRefused reports whether there was no connection.
func IsRefused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// unanswered is why a connection broke before any of the answer had come.
type unanswered struct{ error }

func (u unanswered) Unwrap() error { return u.error }

func IsUnanswered(err error) bool {
	return errors.As(err, new(unanswered)) && (socket.IsDisconnect(err) || errors.Is(err, io.EOF))
}

var ErrNotHTTP = errors.New("not a proper HTTP answer")
