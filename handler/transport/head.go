package transport

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
	"github.com/ollama-proxy/ollama-proxy/handler/http1"
)

// appendHead appends the head of a request to b. If a header could end its line early,
// appendHead returns an error: nothing that a client sends may change where Ollama sees
// requests begin and end.
func appendHead(b []byte, r *http.Request) ([]byte, error) {
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = appendTarget(b, r.URL)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.URL.Host...)
	b = append(b, "\r\n"...)
	for name, values := range r.Header {
		switch name {
		case "Connection", "Content-Length", "Host", "Trailer", "Transfer-Encoding":
			continue // these are written below, or not at all
		}
		for _, value := range values {
			if !http1.IsToken(name) || strings.ContainsAny(value, "\r\n\x00") {
				return nil, errBadHeader
			}
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		}
	}
	switch length := bodyLength(r); {
	case length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case length > 0 || r.Method == http.MethodPost:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, length, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// bodyLength returns how many bytes of body follow the head; -1 if that is not known.
func bodyLength(r *http.Request) int64 {
	small, inMemory := r.Body.(*body.Reader)
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return 0
	case inMemory:
		return small.Size()
	case r.ContentLength == 0:
		return -1 // in http.Request, 0 with a body means unknown
	}
	return r.ContentLength
}

// appendTarget appends the request target. The path is one of the proxy's own. The query
// is the client's: spaces and control characters are escaped, since a space would end
// the target early.
func appendTarget(b []byte, u *url.URL) []byte {
	if path := u.EscapedPath(); path != "" {
		b = append(b, path...)
	} else {
		b = append(b, '/')
	}
	if u.RawQuery == "" {
		return b
	}
	b = append(b, '?')
	for i := range len(u.RawQuery) {
		if c := u.RawQuery[i]; c > ' ' && c != 0x7f {
			b = append(b, c)
		} else {
			b = append(b, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return b
}
