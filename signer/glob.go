package signer

import (
	"bytes"
	"strings"
)

// glob is a pattern of model names, as it stands in a caveat, in which "*" stands
// for any run of characters.
type glob []byte

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

// inGlob tells the characters of a pattern from others: those of a name, and "*".
var inGlob = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:/*") {
		in[c] = true
	}
	return in
}()

// matches reports whether the canonical name of a model fits the pattern, in the
// pattern's own canonical spelling: llama3.2 means llama3.2:latest.
func (g glob) matches(name string) bool {
	var room [maxModelName + len(":"+defaultTag)]byte
	pattern := g.appendCanonical(room[:0])

	// It walks both strings once and goes back to the last star only, so that no
	// pattern makes it slow.
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

// appendCanonical appends what canonicalPattern gives. That takes memory, so it is
// asked only about patterns of which a part is empty, as in "https://host/a/b":
// the others need no more than to lose the default host and namespace, and to get
// the default tag.
func (g glob) appendCanonical(dst []byte) []byte {
	if g.hasEmptyPart() {
		return append(dst, canonicalPattern(string(g))...)
	}
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
	// A star at the end covers the tag.
	if bytes.IndexByte(model, ':') < 0 && model[len(model)-1] != '*' {
		dst = append(dst, ":"+defaultTag...)
	}
	return dst
}

// hasEmptyPart reports whether host, namespace, model or tag is empty, or there is
// a scheme.
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
