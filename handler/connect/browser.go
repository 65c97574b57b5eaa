package connect

import "net/http"

// allowOrigin lets the page of this machine that sent the request read the answer
// (CORS). Requests that come from no page get no such headers. The origin has been
// checked before.
func allowOrigin(h http.Header, r *http.Request) {
	origins := r.Header["Origin"]
	if len(origins) != 1 {
		return
	}
	h.Set("Access-Control-Allow-Origin", origins[0])
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
	h.Add("Vary", "Origin")
}

// answerPreflight answers a browser that asks, before the page's own request, whether it
// may send it, and reports whether the request was such a question. The remote never
// sees it. Methods and lifetime are Ollama's; Ollama lists the headers of some client
// libraries, here the page may send any.
func answerPreflight(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodOptions || len(r.Header["Origin"]) != 1 || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS")
	if asked := r.Header["Access-Control-Request-Headers"]; len(asked) > 0 {
		h["Access-Control-Allow-Headers"] = asked
	}
	h.Set("Access-Control-Max-Age", "43200") // 12 hours
	h.Add("Vary", "Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// dropCORS removes what the remote says to browsers about other origins: it did not see
// the page's origin, and two answers to one question make a browser refuse both.
func dropCORS(h http.Header) {
	for _, name := range []string{
		"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers",
		"Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age",
	} {
		delete(h, name)
	}
}
