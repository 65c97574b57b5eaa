package http1

import (
	"bytes"
	"context"
	"net/http"
)

// ReadPlain reads a request as a connection in the clear does; nil if it is for
// net/http.
func ReadPlain(b []byte) (r *http.Request, head int) {
	plain, head := ReadRequest(context.Background(), b, "")
	if plain == nil {
		return nil, 0
	}
	return &plain.Request, head
}

// IsPlainResponse reports whether a response is one, and how long its head is.
func IsPlainResponse(b []byte, to *http.Request) (r *http.Response, head int) {
	plain := new(Response)
	if head = plain.Read(b, to); head == 0 {
		return nil, 0
	}
	return &plain.Response, head
}

// Unchunk reads a chunked body that comes in the given pieces. Used is how much of
// them belongs to it.
func Unchunk(pieces ...[]byte) (body []byte, used int, err error) {
	var c Dechunker
	for _, piece := range pieces {
		b := bytes.Clone(piece)
		n, read, err := c.Decode(b)
		body, used = append(body, b[:n]...), used+read
		if err != nil {
			return body, used, err
		}
	}
	return body, used, nil
}
