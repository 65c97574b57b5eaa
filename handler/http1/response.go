package http1

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Response is a response of Ollama's that there is one way to read. All that
// it needs is in one piece.
type Response struct {
	http.Response
	values []string // of the headers
	few    [ordinaryHeaders]string
}

// Read reads the response with which b begins, and says how long its head is. If
// the head is not all there, or anything but simple, it returns 0: then it is for
// net/http. The response's Body is not set. r must be new.
//
// A head is simple if its lines are as those of a simple request, see ReadRequest, its
// status goes with a body, and either one Content-Length says how long that is or
// it is chunked and nothing else. The connection stays open after it.
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
	r.values = slices.Grow(r.few[:0], lines)
	for rest != "" {
		name, value, length := cutHeader(rest)
		if length == 0 || !r.take(name, value) {
			return 0
		}
		rest = rest[length:]
	}
	if (r.ContentLength >= 0) == (r.TransferEncoding != nil) {
		return 0
	}
	return end + len(crlfcrlf)
}

var chunkedOnly = []string{"chunked"}

// take takes a header in, and reports whether it is simple.
func (r *Response) take(name, value string) bool {
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
