package e2e

import (
	"context"
	"net"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/status"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// UseResolver makes a transport look names up with r.
func UseResolver(t http.RoundTripper, r *net.Resolver) { t.(*transport.Transport).Dialer.Resolver = r }

// Watch looks at a server as its page does; remember marks each minute.
func Watch(s *server.Server) (look func() status.Status, remember func(context.Context)) {
	w := status.NewWatcher(s.Watched())
	return w.Status, w.RecordHistory
}
