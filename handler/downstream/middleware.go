package downstream

import (
	"net/http"
)

// EndUnclear ends the connection after a request that a server in front may have
// taken to be longer or shorter than it is: what follows on the connection could
// be someone else's. RFC 9112 section 6.1 asks for that where a request has both
// a Transfer-Encoding and a Content-Length, or is chunked HTTP/1.0; net/http
// keeps quiet about the header that it ignores, so all that is chunked, and all of
// HTTP/1.0, has to go. Clients of Ollama's send neither.
func EndUnclear(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
