package server_test

import (
	"log/slog"
	"net/url"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
)

func TestMaxInFlightHoldsWithoutADescriptorLimit(t *testing.T) {
	for _, row := range []struct{ descriptors, said, want int }{
		{0, 3, 3}, {0, 0, 0}, {1 << 20, 3, 3}, {100, 1000, 38},
	} {
		upstream := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
		s := &server.Server{Proxy: handler.New(handler.Options{Upstream: upstream, MaxInFlight: row.said, Recorder: handlertest.NewSpy(), Log: slog.New(slog.DiscardHandler)})}
		if got := server.BoundWith(s, handlertest.Listen(t), row.descriptors); got != row.want {
			t.Errorf("%d descriptors (0: not known) and --max-in-flight %d: %d requests at once, not %d", row.descriptors, row.said, got, row.want)
		}
	}
}
