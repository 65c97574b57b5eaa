package http1

import (
	"net/http"
	"net/textproto"
	"strings"
)

// maxHeaders is how many headers a simple request or response may have.
const maxHeaders = 32

// ordinaryHeaders is how many they have mostly.
const ordinaryHeaders = 6

var crlfcrlf = []byte("\r\n\r\n")

// The kinds of characters in a head.
const (
	letter byte = 1 << iota
	digit
	visible // with letters and digits: any that a value may have, spaces apart
	token   // with letters and digits: any that HTTP's tokens may have
)

var kinds = func() (k [256]byte) {
	for c := '!'; c <= '~'; c++ {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			k[c] = letter | visible | token
		case '0' <= c && c <= '9':
			k[c] = digit | visible | token
		case strings.ContainsRune("!#$%&'*+-.^_`|~", c):
			k[c] = visible | token
		default:
			k[c] = visible
		}
	}
	return k
}()

// cutHeader cuts the first line off a head: its name in canonical spelling, its
// value, and its length with its end. If the line is not simple, that is 0.
func cutHeader(s string) (name, value string, length int) {
	colon, canonical, first := 0, true, true
	for ; colon < len(s); colon++ {
		c := s[colon]
		switch {
		case kinds[c]&letter != 0:
			canonical = canonical && first == (c < 'a')
			first = false
		case kinds[c]&digit != 0:
			first = false
		case c == '-':
			first = true
		default:
			goto named
		}
	}
named:
	if colon == 0 || colon == len(s) || s[colon] != ':' {
		return "", "", 0
	}
	if name = s[:colon]; !canonical {
		name = textproto.CanonicalMIMEHeaderKey(name)
	}
	end := colon + 1
	for end < len(s) && (kinds[s[end]] != 0 || s[end] == ' ') {
		end++
	}
	if end+1 >= len(s) || s[end] != '\r' || s[end+1] != '\n' {
		return "", "", 0
	}
	return name, strings.Trim(s[colon+1:end], " "), end + 2
}

// addHeader adds a header of which there may be one already. Its value is kept
// in values, which has room for it.
func addHeader(h http.Header, name, value string, values []string) []string {
	if before := h[name]; before != nil {
		h[name] = append(before, value)
		return values
	}
	n := len(values)
	h[name] = append(values, value)[n : n+1 : n+1]
	return values[:n+1]
}

// IsToken reports whether s is what HTTP calls one: no header has another name.
func IsToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool { return kinds[c]&token != 0 }

var CRLF = []byte("\r\n")
