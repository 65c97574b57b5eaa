package api

import (
	"net/http"
	"net/textproto"
	"strings"
)

// UpstreamHeader names an Ollama. In a request with an ADMIN key it says which
// one is to have it; in the answer to one, which one it came from. Other keys'
// requests and answers carry no such thing, and Ollama never sees it.
const UpstreamHeader = "X-Ollama-Proxy-Upstream"

// isHopByHop tells the headers that are about one connection only.
func isHopByHop(name string) bool {
	switch name {
	case "Connection", "Http2-Settings", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// isStripped tells the headers of a request that stay here: what lets the client
// in, what Ollama would refuse the client for, and what a client could forge.
func isStripped(name string) bool {
	switch name {
	case "Authorization", "X-Api-Key", "Cookie", "Origin", UpstreamHeader, "Forwarded", "X-Real-Ip",
		"Content-Length", // the transport frames the body anew
		"Expect",         // answered here
		"Host":           // HTTP/2 lets it stand among the others
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-")
}

// StripRequestHeaders takes out of a client's headers what Ollama is not to see: those that
// are private, hop-by-hop, or named by Connection.
func StripRequestHeaders(h http.Header) {
	listed := connectionListed(h)
	for name := range h {
		if isStripped(name) || isHopByHop(name) || listed[name] {
			delete(h, name)
		}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // keeps http.Transport from putting in its own
	}
}

// isOurs tells the headers of an answer that are ours to set: who reads how many requests
// are left must not take an upstream's numbers for those of the key.
func isOurs(name string) bool { return strings.HasPrefix(name, "X-Ratelimit-") }

// CopyResponseHeaders gives the client Ollama's headers without the hop-by-hop
// ones and those that tell of rate limits.
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

// connectionListed are the headers that the sender calls hop-by-hop.
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
