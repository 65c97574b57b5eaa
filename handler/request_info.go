package handler

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/netip"
	"strings"
)

// requestInfo is what the access log says of a request's head. It is copied, since the
// head is dropped when the answer begins.
type requestInfo struct {
	client netip.Addr // invalid: not known, or left out
	trace  string     // trace-id of traceparent; empty: none
	path   string     // cleaned; empty: a route matches
}

// identify gives the exchange its id and puts that into the header of the answer: the
// client's own X-Request-Id if that is tame, or else a random one.
func (x *exchange) identify() {
	if own := x.r.Header["X-Request-Id"]; len(own) == 1 && isTame(own[0]) {
		x.id[0] = own[0]
	} else {
		var random [12]byte
		rand.Read(random[:])
		x.id[0] = hex.EncodeToString(random[:])
	}
	x.w.Header()["X-Request-Id"] = x.id[:]
}

// maxRequestID bounds a client's X-Request-Id: 40 bytes, in which a key's tag of 43 does
// not fit.
const maxRequestID = 40

// inspect returns what the access log says of the request.
func (p *Proxy) inspect(x *exchange) *requestInfo {
	info := &requestInfo{trace: traceOf(x.r.Header)}
	if !p.OmitClientAddress {
		info.client = p.addressOf(x)
	}
	if x.Route == nil {
		info.path = cleanPath(x.r.URL.Path)
	}
	return info
}

// isTame reports whether a client's X-Request-Id can go into the log: it has only ASCII
// letters, digits, "-", "_", "." and ":", and nothing that could be a key.
func isTame(id string) bool {
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return id != "" && len(id) <= maxRequestID && !strings.Contains(strings.ToUpper(id), "OLLAMA-")
}

// traceOf returns the trace-id of the header traceparent (W3C Trace Context), or "".
func traceOf(h http.Header) string {
	values := h["Traceparent"]
	if len(values) != 1 {
		return ""
	}
	parts := strings.Split(values[0], "-")
	if len(parts) < 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || parts[0] == "ff" {
		return ""
	}
	for _, part := range parts[:2] {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return ""
		}
	}
	if strings.Trim(parts[1], "0") == "" {
		return "" // it means that there is none
	}
	return strings.Clone(parts[1])
}

// cleanPath returns a path for the log, in which "*" stands for each segment that is not
// a plain word of up to 24 letters, or a version such as v1: whatever a client puts into a
// path by mistake, such as a key or an id, is not logged. What follows the eighth segment
// is left out.
func cleanPath(path string) string {
	var clean strings.Builder
	for i, segment := range strings.Split(strings.Trim(path, "/"), "/") {
		if i == 8 {
			break
		}
		clean.WriteByte('/')
		if isWord(segment) {
			clean.WriteString(segment)
		} else {
			clean.WriteByte('*')
		}
	}
	return clean.String()
}

func isWord(segment string) bool {
	if len(segment) == 2 && segment[0] == 'v' && '0' <= segment[1] && segment[1] <= '9' {
		return true
	}
	return len(segment) <= 24 && strings.Trim(segment, "abcdefghijklmnopqrstuvwxyz-_") == ""
}
