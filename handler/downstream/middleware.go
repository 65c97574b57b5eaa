package downstream

import (
	"net/http"
)

// EndUnclear is a middleware that closes the connection after a request whose length a
// server in front may have read differently: the bytes that follow could belong to
// another client's request. RFC 9112 section 6.1 asks for that where a request has both
// a Transfer-Encoding and a Content-Length, or is chunked in HTTP/1.0. net/http does not
// show which of the two headers it ignored, so the connection is closed after every
// chunked request and every request in HTTP/1.0. Clients of Ollama send neither.
func EndUnclear(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
