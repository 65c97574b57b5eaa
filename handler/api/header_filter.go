package api

import (
	"encoding/hex"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// UpstreamHeader is the header that names one of several Ollamas. In a request with an
// ADMIN key it chooses the Ollama, and in the answer to such a request it says which one
// answered. With other keys it is ignored and never sent. Ollama never sees it.
const UpstreamHeader = "X-Ollama-Proxy-Upstream"

// isHopByHop reports whether a header, by its canonical name, is about one connection
// only.
func isHopByHop(name string) bool {
	switch name {
	case "Connection", "Http2-Settings", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// isStripped reports whether a request header, by its canonical name, is kept from
// Ollama: all that can carry a key, what Ollama would refuse a request for, and what a
// client could forge.
func isStripped(name string) bool {
	switch name {
	case "Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie", "Origin", UpstreamHeader, "Forwarded", "X-Real-Ip",
		"Content-Length", // the transport frames the body anew
		"Expect",         // answered here
		"Host":           // HTTP/2 lets it stand among the others
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-")
}

// holdsKey reports whether a text may have a key in it. Some clients send theirs in
// places where nobody looks for it.
func holdsKey(text string) bool { return strings.Contains(text, "OLLAMA-") }

// WithoutKeys returns the query of a URL, or nothing if it may have a key in it, whether
// or not all of its escapes are valid.
func WithoutKeys(query string) string {
	if query == "" {
		return ""
	}
	plain := make([]byte, 0, len(query))
	for i := 0; i < len(query); i++ {
		c := query[i]
		if c == '%' && i+2 < len(query) {
			if b, err := hex.DecodeString(query[i+1 : i+3]); err == nil {
				c, i = b[0], i+2
			}
		}
		plain = append(plain, c)
	}
	if holdsKey(string(plain)) {
		return ""
	}
	return query
}

// StripRequestHeaders deletes from a client's headers what Ollama must not see:
// credentials, wherever they are, what a client could forge, hop-by-hop headers, and
// those that Connection lists.
func StripRequestHeaders(h http.Header) {
	listed := connectionListed(h)
	for name, values := range h {
		if isStripped(name) || isHopByHop(name) || listed[name] || slices.ContainsFunc(values, holdsKey) {
			delete(h, name)
		}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // keeps http.Transport from putting in its own
	}
}

// isOurs reports whether a header of an answer is set by the proxy itself: the id of the
// request, and how many requests are left, where no upstream's numbers must be taken for
// those of the key.
func isOurs(name string) bool {
	return name == "X-Request-Id" || strings.HasPrefix(name, "X-Ratelimit-")
}

// CopyResponseHeaders copies Ollama's headers to the client's answer, without the
// hop-by-hop ones, those that Connection lists, and those that the proxy sets itself. The
// values are shared, not cloned.
func CopyResponseHeaders(to, from http.Header) {
	listed := connectionListed(from)
	for name, values := range from {
		if !isHopByHop(name) && !listed[name] && !isOurs(name) {
			to[name] = values
		}
	}
	if _, ok := to["Content-Type"]; !ok {
		to["Content-Type"] = nil // keeps the server from guessing one
	}
}

// connectionListed returns the canonical names that Connection lists: the sender calls
// those headers hop-by-hop. It may be nil.
func connectionListed(h http.Header) map[string]bool {
	var listed map[string]bool
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			if listed == nil {
				listed = map[string]bool{}
			}
			listed[textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))] = true
		}
	}
	return listed
}
