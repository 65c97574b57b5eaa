package handler

import (
	"context"
	"io"
	"net"
	"net/http"
)

// InMemory is a body that leaves in one write with the head, as those of most
// requests do.
func InMemory(text string) io.ReadCloser { return newMemory([]byte(text)) }

// TransportOver is what NewTransport returns, but for how it dials.
func TransportOver(dial func(context.Context) (net.Conn, error)) http.RoundTripper {
	return &transport{dial: dial}
}
