package metrics

import (
	"strings"
	"testing"
)

func TestOllamasAreCountedByName(t *testing.T) {
	m := newMetrics(&inForce{})
	one, two := m.UpstreamJoined("gpu1"), m.UpstreamJoined("gpu2")
	m.UpstreamUp(one, true)
	m.UpstreamUp(two, true)
	m.UpstreamUp(two, false)
	m.UpstreamFailed(two, "dial")
	m.UpstreamEntered(one, "loaded")
	m.UpstreamEntered(one, "loaded")
	m.UpstreamDone(one)
	m.UpstreamRetried(two, "busy")
	expect(t, scrape(t, m),
		`ollama_proxy_upstream_up{upstream="gpu1"} 1`,
		`ollama_proxy_upstream_up{upstream="gpu2"} 0`,
		`ollama_proxy_upstream_errors_total{kind="dial",upstream="gpu1"} 0`,
		`ollama_proxy_upstream_errors_total{kind="dial",upstream="gpu2"} 1`,
		`ollama_proxy_upstream_requests_total{choice="loaded",upstream="gpu1"} 2`,
		`ollama_proxy_upstream_in_flight_requests{upstream="gpu1"} 1`,
		`ollama_proxy_upstream_retries_total{reason="busy",upstream="gpu2"} 1`,
		`ollama_proxy_upstream_retries_total{reason="busy",upstream="gpu1"} 0`,
	)

	// One that is removed is not down: it has no series, even if requests end there later.
	m.UpstreamLeft(one)
	m.UpstreamDone(one)
	if text := scrape(t, m); strings.Contains(text, "gpu1") || !strings.Contains(text, "gpu2") {
		t.Error(text)
	}
	m.UpstreamUp(m.UpstreamJoined("gpu1"), true)
	expect(t, scrape(t, m), `ollama_proxy_upstream_up{upstream="gpu1"} 1`, `ollama_proxy_upstream_in_flight_requests{upstream="gpu1"} 0`)
}
