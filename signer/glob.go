package signer

import (
	"bytes"
	"strings"
)

// glob is a pattern of model names as written in a caveat. A "*" matches any number of
// characters.
type glob []byte

// isGlob reports whether s can be a pattern: 1 to 600 bytes, all of them allowed in one.
func isGlob(s []byte) bool {
	if len(s) == 0 || len(s) > maxModelName {
		return false
	}
	for _, c := range s {
		if !inGlob[c] {
			return false
		}
	}
	return true
}

// inGlob is the set of characters that a pattern may have: those of a name, and "*".
var inGlob = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:/*") {
		in[c] = true
	}
	return in
}()

// matches reports whether a model's canonical name matches the pattern in its canonical
// spelling: llama3.2 means llama3.2:latest. It allocates nothing unless a part of the
// pattern is empty.
func (g glob) matches(name string) bool {
	var room [maxModelName + len(":"+defaultTag)]byte
	pattern := g.appendCanonical(room[:0])

	// On a mismatch, only the last star is extended by one byte, so that no
	// pattern takes exponential time.
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return len(bytes.Trim(pattern[p:], "*")) == 0
}

// appendCanonical appends what canonicalPattern returns. That function allocates, so it
// is called only for patterns with an empty part, as in "https://host/a/b". For all
// others it suffices to drop the default host and namespace, and to add the default tag.
func (g glob) appendCanonical(dst []byte) []byte {
	if g.hasEmptyPart() {
		return append(dst, canonicalPattern(string(g))...)
	}
	// No part is empty from here on, so no separator comes first or last.
	path, model := glob(nil), g
	if slash := bytes.LastIndexByte(g, '/'); slash >= 0 {
		path, model = g[:slash], g[slash+1:]
	}
	host, namespace := glob(nil), path
	if slash := bytes.LastIndexByte(path, '/'); slash >= 0 {
		host, namespace = path[:slash], path[slash+1:]
	}
	rest := g
	if host == nil || strings.EqualFold(string(host), defaultHost) {
		rest = g[len(g)-len(model):]
		if namespace != nil && !strings.EqualFold(string(namespace), defaultNamespace) {
			rest = g[len(g)-len(model)-len("/")-len(namespace):]
		}
	}
	for _, c := range rest {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	// A star at the end also matches the tag.
	if bytes.IndexByte(model, ':') < 0 && model[len(model)-1] != '*' {
		dst = append(dst, ":"+defaultTag...)
	}
	return dst
}

// hasEmptyPart reports whether host, namespace, model or tag is empty, or the pattern
// has a scheme.
func (g glob) hasEmptyPart() bool {
	before := byte('/')
	for _, c := range g {
		if before == '/' && (c == '/' || c == ':') {
			return true
		}
		before = c
	}
	return before == '/' || before == ':'
}
