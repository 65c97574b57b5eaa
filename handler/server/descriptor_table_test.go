package server_test

import (
	"log/slog"
	"math"
	"net/url"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

func TestTheDescriptorTableIsForWhatTheBoundsAllow(t *testing.T) {
	proxy := func(inFlight, ollamas int) *server.Server {
		o := handler.Options{MaxInFlight: inFlight, Recorder: handlertest.NopRecorder{}, Log: slog.New(slog.DiscardHandler)}
		for range ollamas {
			o.Upstreams = append(o.Upstreams, upstream.Upstream{Name: "o", URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Weight: 1})
		}
		return &server.Server{Proxy: handler.New(o)}
	}
	for _, row := range []struct{ connections, inFlight, ollamas, least, most int }{
		{10_000, 0, 1, 20_000, 20_200},          // a request for each connection
		{10_000, 500, 1, 10_500, 10_700},        // --max-in-flight
		{100, 5000, 1, 5100, 5300},              // HTTP/2
		{100, 0, 3, 200 + 2048, 200 + 2248},     // two keep what they had while one is asked
		{math.MaxInt, 0, 1, 1 << 20, 1 << 22},   // --max-connections, where files are not bounded
		{100, math.MaxInt, 1, 1 << 20, 1 << 21}, // --max-in-flight
	} {
		if n := server.MostDescriptors(proxy(row.inFlight, row.ollamas), row.connections); n < row.least || n > row.most {
			t.Errorf("%+v: %d", row, n)
		}
	}
}
