package standin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// allowedHost reports whether an Ollama that listens on loopback accepts the Host, as a guard against DNS rebinding. A
// real one also accepts the name and addresses of its machine.
func allowedHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback() || a.IsPrivate() || a.IsUnspecified()
	}
	host = strings.ToLower(host)
	return host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".internal")
}

// allowedOrigin reports whether the request has no Origin, that of its own Host, or one that Ollama allows by default.
func allowedOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || origin == "http://"+r.Host || origin == "https://"+r.Host {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "http", "https":
		return slices.Contains([]string{"localhost", "127.0.0.1", "0.0.0.0"}, u.Hostname())
	case "app", "file", "tauri", "vscode-webview", "vscode-file":
		return true
	}
	return false
}

func (x *exchange) preflight() {
	if origin := x.r.Header.Get("Origin"); origin != "" {
		h := x.w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Authorization,Content-Type,User-Agent,Accept,X-Requested-With")
		h.Set("Access-Control-Max-Age", "43200")
	}
	x.empty(http.StatusNoContent)
}
