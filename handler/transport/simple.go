package transport

import (
	"io"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/http1"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// simpleResponse is a simple response (see package http1) and its body, in one
// allocation.
type simpleResponse struct {
	http1.Response
	body simpleBody
}

// begin completes the response. first is the part of its body that arrived in the same
// buffer as the head.
func (r *simpleResponse) begin(c *conn, s *socket.Buffer, first []byte) *http.Response {
	res := &r.Response.Response
	if c.extraBytes = r.ContentLength == 0 && len(first) > 0; r.ContentLength == 0 {
		s.Release()
		r.Body = http.NoBody
		return res
	}
	r.body = simpleBody{conn: c, left: r.ContentLength, chunked: r.TransferEncoding != nil}
	if len(first) > 0 {
		r.body.buffer, r.body.first = s, first
	} else {
		s.Release()
	}
	r.Body = &r.body
	return res
}

// simpleBody reads the body of a simple response.
type simpleBody struct {
	conn      *conn
	buffer    *socket.Buffer // holds first; nil: nothing is left of it
	first     []byte         // bytes that arrived with the head
	left      int64          // bytes that are still to come, if the length is known
	chunked   bool
	dechunker http1.Dechunker

	pending []byte // bytes for the next calls of Read
	err     error  // what Read returns after them
}

// next waits for bytes of the body, and returns them with the buffer that holds them,
// which the caller must release. At the end of the body the error is io.EOF; there may
// be bytes with it.
func (b *simpleBody) next() (*socket.Buffer, []byte, error) {
	for {
		s, raw := b.buffer, b.first
		b.buffer, b.first = nil, nil
		if s == nil {
			var n int
			var err error
			if s, n, err = b.conn.readBuffer(); err != nil {
				return nil, nil, err
			}
			raw = s.Bytes[:n]
		}
		chunk, err := b.decode(raw)
		if len(chunk) > 0 || err != nil {
			return s, chunk, err
		}
		s.Release()
	}
}

// decode removes the chunked framing, in place, and what does not belong to the body.
func (b *simpleBody) decode(raw []byte) (chunk []byte, err error) {
	if b.chunked {
		n, used, err := b.dechunker.Decode(raw)
		b.conn.extraBytes = err == io.EOF && used < len(raw)
		return raw[:n], err
	}
	if int64(len(raw)) > b.left {
		raw, b.conn.extraBytes = raw[:b.left], true
	}
	if b.left -= int64(len(raw)); b.left == 0 {
		err = io.EOF
	}
	return raw, err
}

// Read implements io.Reader.
func (b *simpleBody) Read(p []byte) (int, error) {
	if len(b.pending) == 0 && b.err == nil {
		var s *socket.Buffer
		var chunk []byte
		s, chunk, b.err = b.next()
		b.pending = append(b.pending[:0], chunk...)
		s.Release()
	}
	n := copy(p, b.pending)
	if b.pending = b.pending[n:]; len(b.pending) == 0 {
		return n, b.err
	}
	return n, nil
}

// Close releases the buffer. It returns nil, and leaves the connection open.
func (b *simpleBody) Close() error {
	b.buffer.Release()
	b.buffer = nil
	return nil
}
