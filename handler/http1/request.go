package http1

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxBody is the largest Content-Length that a simple request may announce: 1 MiB.
const maxBody = 1 << 20

// Request is a request that every HTTP server reads in the same way. The http.Request,
// its URL and the values of its headers share one allocation.
type Request struct {
	http.Request
	url    url.URL
	values []string                // of the headers
	inline [ordinaryHeaders]string // where values begins
}

// ReadRequest reads the request at the beginning of b. It returns the request and the
// length of its head, with the empty line at the end. If the head is incomplete, or not
// simple, ReadRequest returns nil: the caller then gives the same bytes to net/http,
// which waits for the rest, reads the head, or refuses it. The request has the given
// context and RemoteAddr; its Body is nil.
//
// A head is simple if
//
//   - its method is POST, GET, HEAD or DELETE, and its version HTTP/1.1;
//   - its path has only letters, digits and the characters / - _ . :, does not begin
//     with //, and has no query;
//   - its lines end in CR LF and hold printable ASCII only;
//   - it has one Host, at most one Content-Length, of at most 1 MiB, and no
//     Transfer-Encoding;
//   - it has at most 32 headers; none asks for an upgrade, an interim response,
//     trailers, or a connection option other than close and keep-alive, and none is
//     Pragma, Keep-Alive or Proxy-Connection.
func ReadRequest(ctx context.Context, b []byte, remoteAddr string) (r *Request, head int) {
	end := bytes.Index(b, crlfcrlf)
	if end < 0 {
		return nil, 0
	}
	text := string(b[:end+2])
	method, rest, _ := strings.Cut(text, " ")
	target, rest, _ := strings.Cut(rest, " ")
	rest, ok := strings.CutPrefix(rest, "HTTP/1.1\r\n")
	method = simpleMethod(method)
	if !ok || method == "" || !isSimplePath(target) {
		return nil, 0
	}
	r = &Request{url: url.URL{Path: target}}
	r.Request = *(&http.Request{
		Method: method, URL: &r.url, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: target, RemoteAddr: remoteAddr,
	}).WithContext(ctx)
	lines := strings.Count(rest, "\n")
	if lines > maxHeaders {
		return nil, 0
	}
	r.Header, r.values = make(http.Header, ordinaryHeaders), slices.Grow(r.inline[:0], lines)
	for rest != "" {
		name, value, length := cutHeader(rest)
		if length == 0 || !r.accept(name, value) {
			return nil, 0
		}
		rest = rest[length:]
	}
	if r.Host == "" {
		return nil, 0
	}
	return r, end + len(crlfcrlf)
}

// simpleMethod returns the method that s spells, or "". It returns a constant and not s:
// s shares memory with its head, and a method becomes the label of a metric, which would
// keep that memory for good.
func simpleMethod(s string) string {
	for _, method := range [...]string{http.MethodPost, http.MethodGet, http.MethodHead, http.MethodDelete} {
		if s == method {
			return method
		}
	}
	return ""
}

// isSimplePath reports whether there is only one way to spell the path. It excludes
// queries.
func isSimplePath(s string) bool {
	if s == "" || s[0] != '/' || len(s) > 1 && s[1] == '/' {
		return false
	}
	for i := range len(s) {
		if kinds[s[i]]&(letter|digit) == 0 && strings.IndexByte("/-_.:", s[i]) < 0 {
			return false
		}
	}
	return true
}

// accept adds a header to the request. It reports whether the header is simple.
func (r *Request) accept(name, value string) bool {
	switch name {
	case "Host":
		if r.Host != "" || !isSimpleHost(value) {
			return false
		}
		r.Host = value
		return true // net/http does not list it in Header either
	case "Content-Length":
		if r.ContentLength != 0 || len(value) > len("1048576") || r.Header["Content-Length"] != nil {
			return false
		}
		length, err := strconv.ParseUint(value, 10, 32)
		if err != nil || length > maxBody {
			return false
		}
		r.ContentLength = int64(length)
	case "Connection":
		switch {
		case r.Header["Connection"] != nil:
			return false
		case strings.EqualFold(value, "close"):
			r.Close = true
		case !strings.EqualFold(value, "keep-alive"):
			return false
		}
	case "Transfer-Encoding", "Trailer", "Te", "Upgrade", "Expect", "Http2-Settings", "Pragma", "Keep-Alive", "Proxy-Connection":
		return false
	}
	r.values = addHeader(r.Header, name, value, r.values)
	return true
}

// isSimpleHost reports whether a Host has only letters, digits and the characters - . :
// [ ].
func isSimpleHost(s string) bool {
	for i := range len(s) {
		if kinds[s[i]]&(letter|digit) == 0 && strings.IndexByte("-.:[]", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}
