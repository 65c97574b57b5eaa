package http1

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Response is a response of Ollama's that every HTTP client reads in the same way. The
// http.Response and the values of its headers share one allocation; whoever embeds a
// Response saves one more.
type Response struct {
	http.Response
	values []string                // of the headers
	inline [ordinaryHeaders]string // where values begins
}

// Read reads the response at the beginning of b, which answers the request to, and fills
// r, which must be new. It returns the length of the head, with the empty line at its
// end. If the head is incomplete, or not simple, Read returns 0: the caller then gives
// the same bytes to net/http. The response's Body is nil.
//
// A head is simple if its lines are those of a simple request (see [ReadRequest]), it
// has a status from 200 on that allows a body, and either one Content-Length or
// "Transfer-Encoding: chunked". The connection stays open after a simple response. A
// response to HEAD is never simple.
func (r *Response) Read(b []byte, to *http.Request) (head int) {
	end := bytes.Index(b, crlfcrlf)
	if end < 0 || to.Method == http.MethodHead {
		return 0
	}
	text := string(b[:end+2])
	line, rest, _ := strings.Cut(text, "\r\n")
	status, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	if !ok || len(status) < 4 || status[3] != ' ' {
		return 0
	}
	code, err := strconv.ParseUint(status[:3], 10, 16)
	if err != nil || code < 200 || code == http.StatusNoContent || code == http.StatusNotModified {
		return 0
	}
	for i := range len(status) {
		if kinds[status[i]] == 0 && status[i] != ' ' {
			return 0
		}
	}
	r.Response = http.Response{
		Status: status, StatusCode: int(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, ordinaryHeaders), ContentLength: -1, Request: to,
	}
	lines := strings.Count(rest, "\n")
	if lines > maxHeaders {
		return 0
	}
	r.values = slices.Grow(r.inline[:0], lines)
	for rest != "" {
		name, value, length := cutHeader(rest)
		if length == 0 || !r.accept(name, value) {
			return 0
		}
		rest = rest[length:]
	}
	if (r.ContentLength >= 0) == (r.TransferEncoding != nil) {
		return 0
	}
	return end + len(crlfcrlf)
}

// chunkedOnly is the TransferEncoding of every chunked response; nobody changes it.
var chunkedOnly = []string{"chunked"}

// accept adds a header to the response. It reports whether the header is simple.
func (r *Response) accept(name, value string) bool {
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
		return true // net/http does not list it in Header either
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
