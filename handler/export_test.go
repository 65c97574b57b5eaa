package handler

import (
	"context"
	"io"
	"net"
	"net/http"

	"github.com/klauspost/compress/zstd"
)

// InMemory is a body that leaves in one write with the head, as those of most
// requests do.
func InMemory(text string) io.ReadCloser { return newMemory([]byte(text)) }

// TransportOver is what NewTransport returns, but for how it dials.
func TransportOver(dial func(context.Context) (net.Conn, error)) http.RoundTripper {
	return &transport{dial: dial}
}

// HoldDecoders takes all decoders, until release is called.
func HoldDecoders() (release func()) {
	var held [maxDecoders]*zstd.Decoder
	for i := range held {
		held[i] = <-decoders
	}
	return func() {
		for _, d := range held {
			decoders <- d
		}
	}
}

// UseResolver makes a transport look names up with r.
func UseResolver(t http.RoundTripper, r *net.Resolver) { t.(*transport).dialer.Resolver = r }

// NewSocket is a connection as the proxy reads and writes it.
func NewSocket(c net.Conn) net.Conn { return newSocket(c) }
