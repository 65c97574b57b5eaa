package transport

import (
	"io"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/http1"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// simpleResponse is a simple response with its body, in one piece.
type simpleResponse struct {
	http1.Response
	body simpleBody
}

// begin begins the response, of whose body some bytes may have come.
func (r *simpleResponse) begin(c *conn, s *socket.Buffer, first []byte) *http.Response {
	res := &r.Response.Response
	if c.extraBytes = r.ContentLength == 0 && len(first) > 0; r.ContentLength == 0 {
		s.Release()
		r.Body = http.NoBody
		return res
	}
	r.body = simpleBody{conn: c, left: r.ContentLength, chunked: r.TransferEncoding != nil}
	if len(first) > 0 {
		r.body.space, r.body.first = s, first
	} else {
		s.Release()
	}
	r.Body = &r.body
	return res
}

// simpleBody reads the body of a simple response.
type simpleBody struct {
	conn     *conn
	space    *socket.Buffer // in which first stands; nil: there is none
	first    []byte         // what came with the head
	left     int64          // of a body of known length
	chunked  bool
	chunking http1.Dechunker

	pending []byte // what Read has not given yet
	err     error  // what it gives then
}

// next waits for bytes of the body and lends them: they are in the space, which
// is to be given back. At the end of the body the error is io.EOF; there may be
// bytes with it.
func (b *simpleBody) next() (*socket.Buffer, []byte, error) {
	for {
		s, raw := b.space, b.first
		b.space, b.first = nil, nil
		if s == nil {
			var n int
			var err error
			if s, n, err = b.conn.readBuffer(); err != nil {
				return nil, nil, err
			}
			raw = s.Bytes[:n]
		}
		chunk, err := b.unframe(raw)
		if len(chunk) > 0 || err != nil {
			return s, chunk, err
		}
		s.Release()
	}
}

// unframe takes what belongs to the body out of what has come, in its place.
func (b *simpleBody) unframe(raw []byte) (chunk []byte, err error) {
	if b.chunked {
		n, used, err := b.chunking.Decode(raw)
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

// Close implements io.Closer.
func (b *simpleBody) Close() error {
	b.space.Release()
	b.space = nil
	return nil
}
