package handler

import (
	"context"
	"net"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// UseResolver makes a transport look names up with r.
func UseResolver(t http.RoundTripper, r *net.Resolver) { t.(*transport.Transport).Dialer.Resolver = r }

// Watch looks at a server as its page does; remember marks each minute.
func Watch(s *Server) (look func() Status, remember func(context.Context)) {
	w := newWatcher(s.watched())
	return w.look, w.remember
}
