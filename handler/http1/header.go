package http1

import (
	"net/http"
	"net/textproto"
	"strings"
)

// maxHeaders is how many headers a simple request or response may have.
const maxHeaders = 32

// ordinaryHeaders is how many headers most messages have at most. More of them cost an
// allocation.
const ordinaryHeaders = 6

var crlfcrlf = []byte("\r\n\r\n")

// The classes of characters in a head.
const (
	letter byte = 1 << iota
	digit
	visible // printable ASCII, without the space
	token   // allowed in HTTP's tokens, such as the name of a header
)

// kinds maps each byte to its classes. Control characters, the space and bytes beyond
// ASCII have none.
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

// cutHeader reads the first line of s as a header. It returns the name in canonical
// spelling, the value without the spaces around it, and the length of the line with its
// CR LF. If the line is not simple, the length is 0.
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

// addHeader adds a header to h. If it is the first of its name, its value is stored in
// values, which must have the capacity for it; addHeader returns values as it is then.
func addHeader(h http.Header, name, value string, values []string) []string {
	if before := h[name]; before != nil {
		h[name] = append(before, value)
		return values
	}
	n := len(values)
	h[name] = append(values, value)[n : n+1 : n+1]
	return values[:n+1]
}

// IsToken reports whether s is a token (RFC 9110, section 5.6.2), as the names of
// headers must be. An empty string is none.
func IsToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool { return kinds[c]&token != 0 }

// CRLF ends a line of a head. It must not be changed.
var CRLF = []byte("\r\n")
