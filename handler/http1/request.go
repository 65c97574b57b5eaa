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

// maxBody is the most that a simple request may announce: 1 MiB.
const maxBody = 1 << 20

// plainRequest is a request that nothing can take for another: there is one way
// to read it, and every server reads it so. All that it needs is in one piece.
type Request struct {
	http.Request
	url    url.URL
	values []string // of the headers
	few    [ordinaryHeaders]string
}

// ReadRequest reads the request with which b begins, and says how long its head
// is. If the head is not all there, or anything but simple, it returns nil: then
// it is for net/http to read it, to wait for the rest, or to refuse it. The
// request's context and RemoteAddr are those given, and its Body is not set.
//
// A head is simple if its method and path are such as the table of routes may
// have, its version is HTTP/1.1, its lines end in CR LF and have no control or
// 8-bit characters, it has one Host, at most one Content-Length and no
// Transfer-Encoding, and it asks for nothing special: no upgrade, no interim
// answer, no trailers.
func ReadRequest(ctx context.Context, b []byte, from string) (r *Request, head int) {
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
		Method: method, URL: &r.url, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: target, RemoteAddr: from,
	}).WithContext(ctx)
	lines := strings.Count(rest, "\n")
	if lines > maxHeaders {
		return nil, 0
	}
	r.Header, r.values = make(http.Header, ordinaryHeaders), slices.Grow(r.few[:0], lines)
	for rest != "" {
		name, value, length := cutHeader(rest)
		if length == 0 || !r.take(name, value) {
			return nil, 0
		}
		rest = rest[length:]
	}
	if r.Host == "" {
		return nil, 0
	}
	return r, end + len(crlfcrlf)
}

// simpleMethod gives the method that s spells, or nothing. It is no part of the
// head that s is of, which a label would keep in memory for good.
func simpleMethod(s string) string {
	for _, method := range [...]string{http.MethodPost, http.MethodGet, http.MethodHead, http.MethodDelete} {
		if s == method {
			return method
		}
	}
	return ""
}

// isSimplePath leaves out whatever a path can be spelt in several ways with, and
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

// take takes a header in, and reports whether it is simple.
func (r *Request) take(name, value string) bool {
	switch name {
	case "Host":
		if r.Host != "" || !isSimpleHost(value) {
			return false
		}
		r.Host = value
		return true // net/http keeps it apart from the others, too
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

func isSimpleHost(s string) bool {
	for i := range len(s) {
		if kinds[s[i]]&(letter|digit) == 0 && strings.IndexByte("-.:[]", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}
