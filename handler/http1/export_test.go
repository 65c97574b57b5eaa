package http1

import (
	"bytes"
	"context"
	"net/http"
)

// ReadSimple reads a request as a connection without TLS does; nil if it is not simple.
func ReadSimple(b []byte) (r *http.Request, head int) {
	simple, head := ReadRequest(context.Background(), b, "")
	if simple == nil {
		return nil, 0
	}
	return &simple.Request, head
}

// ReadSimpleResponse reads a response; nil if it is not simple.
func ReadSimpleResponse(b []byte, to *http.Request) (r *http.Response, head int) {
	simple := new(Response)
	if head = simple.Read(b, to); head == 0 {
		return nil, 0
	}
	return &simple.Response, head
}

// Unchunk decodes a chunked body that arrives in the given pieces. Used is how many of
// their bytes belong to it.
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
