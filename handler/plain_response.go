package handler

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// plainResponse is a response of Ollama's that there is one way to read. All that
// it needs is in one piece.
type plainResponse struct {
	http.Response
	body   plainBody
	values []string // of the headers
	few    [ordinaryHeaders]string
}

// readPlainResponse reads the response with which b begins, and says how long
// its head is. If the head is not all there, or anything but plain, it returns nil:
// then it is for net/http. The response's Body is not set.
//
// A head is plain if its lines are as those of a plain request, see readPlain, its
// status goes with a body, and either one Content-Length says how long that is or
// it is chunked and nothing else. The connection stays open after it.
func readPlainResponse(b []byte, to *http.Request) (r *plainResponse, head int) {
	end := bytes.Index(b, crlfcrlf)
	if end < 0 || to.Method == http.MethodHead {
		return nil, 0
	}
	text := string(b[:end+2])
	line, rest, _ := strings.Cut(text, "\r\n")
	status, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	if !ok || len(status) < 4 || status[3] != ' ' {
		return nil, 0
	}
	code, err := strconv.ParseUint(status[:3], 10, 16)
	if err != nil || code < 200 || code == http.StatusNoContent || code == http.StatusNotModified {
		return nil, 0
	}
	for i := range len(status) {
		if kinds[status[i]] == 0 && status[i] != ' ' {
			return nil, 0
		}
	}
	r = &plainResponse{Response: http.Response{
		Status: status, StatusCode: int(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, ordinaryHeaders), ContentLength: -1, Request: to,
	}}
	lines := strings.Count(rest, "\n")
	if lines > maxPlainHeaders {
		return nil, 0
	}
	r.values = slices.Grow(r.few[:0], lines)
	for rest != "" {
		name, value, length := cutHeader(rest)
		if length == 0 || !r.take(name, value) {
			return nil, 0
		}
		rest = rest[length:]
	}
	if (r.ContentLength >= 0) == (r.TransferEncoding != nil) {
		return nil, 0
	}
	return r, end + len(crlfcrlf)
}

var chunkedOnly = []string{"chunked"}

// take takes a header in, and reports whether it is plain.
func (r *plainResponse) take(name, value string) bool {
	switch name {
	case "Content-Length":
		length, err := strconv.ParseUint(value, 10, 63)
		if err != nil || r.ContentLength >= 0 {
			return false
		}
		r.ContentLength = int64(length)
	case "Transfer-Encoding":
		if value != "chunked" || r.TransferEncoding != nil {
			return false
		}
		r.TransferEncoding = chunkedOnly
		return true // net/http keeps it apart from the others, too
	case "Connection":
		if value != "keep-alive" {
			return false
		}
	case "Trailer", "Pragma":
		return false
	}
	r.values = addHeader(r.Header, name, value, r.values)
	return true
}

// plainBody is the body of a plain response.
type plainBody struct {
	conn     *conn
	space    *space // in which first stands; nil: there is none
	first    []byte // what came with the head
	left     int64  // of a body of known length
	chunked  bool
	chunking chunking

	pending []byte // what Read has not given yet
	err     error  // what it gives then
}

// next waits for bytes of the body and lends them: they are in the space, which
// is to be given back. At the end of the body the error is io.EOF; there may be
// bytes with it.
func (b *plainBody) next() (*space, []byte, error) {
	for {
		s, raw := b.space, b.first
		b.space, b.first = nil, nil
		if s == nil {
			var n int
			var err error
			if s, n, err = b.conn.readFresh(); err != nil {
				return nil, nil, err
			}
			raw = s.bytes[:n]
		}
		chunk, err := b.unframe(raw)
		if len(chunk) > 0 || err != nil {
			return s, chunk, err
		}
		s.giveBack()
	}
}

// unframe takes what belongs to the body out of what has come, in its place.
func (b *plainBody) unframe(raw []byte) (chunk []byte, err error) {
	if b.chunked {
		n, used, err := b.chunking.decode(raw)
		b.conn.surplus = err == io.EOF && used < len(raw)
		return raw[:n], err
	}
	if int64(len(raw)) > b.left {
		raw, b.conn.surplus = raw[:b.left], true
	}
	if b.left -= int64(len(raw)); b.left == 0 {
		err = io.EOF
	}
	return raw, err
}

// Read implements io.Reader.
func (b *plainBody) Read(p []byte) (int, error) {
	if len(b.pending) == 0 && b.err == nil {
		var s *space
		var chunk []byte
		s, chunk, b.err = b.next()
		b.pending = append(b.pending[:0], chunk...)
		s.giveBack()
	}
	n := copy(p, b.pending)
	if b.pending = b.pending[n:]; len(b.pending) == 0 {
		return n, b.err
	}
	return n, nil
}

// Close implements io.Closer.
func (b *plainBody) Close() error {
	b.space.giveBack()
	b.space = nil
	return nil
}
