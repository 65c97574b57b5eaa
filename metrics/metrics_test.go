package metrics

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

type inForce struct{ entries int }

func (k *inForce) Revocations() int        { return k.entries }
func (*inForce) RevocationsHash() uint64   { return 1<<48 - 1 }
func (*inForce) SecretFingerprint() uint64 { return 42 }

func newMetrics(k *inForce) *Metrics {
	return New(Options{
		Version:        "v1.2.3",
		Routes:         []string{"/api/chat", "/v1/models", "other"},
		RefusalReasons: []string{"missing", "bad_signature"},
		UpstreamErrors: []string{"dial", "other"},

		UpstreamChoices: []string{"loaded"},
		UpstreamRetries: []string{"busy"},

		InForce: k,
	})
}

// scrape returns what Prometheus reads.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func expect(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, line := range want {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

func TestFailureCountersStartAtZero(t *testing.T) {
	m := newMetrics(&inForce{})
	m.UpstreamJoined("gpu1")
	expect(t, scrape(t, m),
		`ollama_proxy_refusals_total{reason="missing"} 0`,
		`ollama_proxy_refusals_total{reason="bad_signature"} 0`,
		`ollama_proxy_upstream_errors_total{kind="dial",upstream="gpu1"} 0`,
		`ollama_proxy_upstream_up{upstream="gpu1"} 0`,
		`ollama_proxy_in_flight_requests{route="/api/chat"} 0`,
		`ollama_proxy_stream_bytes_total{route="/api/chat"} 0`,
		`ollama_proxy_build_info{version="v1.2.3"} 1`,
	)
}

func TestARequestIsCountedInAndOut(t *testing.T) {
	m := newMetrics(&inForce{})
	m.RequestStarted(0)
	m.Uploaded(0, 100)
	m.Forwarded(30 * time.Microsecond)
	m.FirstByte(0, 2*time.Second)
	m.StreamStarted(0)
	m.Passed(0, 0, 10, 0)
	m.Passed(0, 0, 20, 40*time.Millisecond)
	expect(t, scrape(t, m),
		`ollama_proxy_in_flight_requests{route="/api/chat"} 1`,
		`ollama_proxy_active_streams{route="/api/chat"} 1`,
		`ollama_proxy_stream_bytes_total{route="/api/chat"} 30`, // counted before the stream has ended
		`ollama_proxy_request_bytes_total{route="/api/chat"} 100`,
		`ollama_proxy_overhead_seconds_bucket{le="5e-05"} 1`,
		`ollama_proxy_overhead_seconds_bucket{le="2.5e-05"} 0`,
	)
	m.StreamEnded(0, "client_gone")
	m.RequestEnded(0, "POST", 499, 3*time.Second)
	expect(t, scrape(t, m),
		`ollama_proxy_in_flight_requests{route="/api/chat"} 0`,
		`ollama_proxy_active_streams{route="/api/chat"} 0`,
		`ollama_proxy_streams_total{outcome="client_gone",route="/api/chat"} 1`,
		`ollama_proxy_requests_total{code="499",method="POST",route="/api/chat"} 1`,
		`ollama_proxy_time_to_first_byte_seconds_sum{route="/api/chat"} 2`,
		`ollama_proxy_request_duration_seconds_count{route="/api/chat"} 1`,
		`ollama_proxy_inter_chunk_seconds_count{route="/api/chat"} 1`,
	)
}

func TestFailedReloadKeepsTheTimeOfTheLastGoodOne(t *testing.T) {
	k := &inForce{entries: 7}
	m := newMetrics(k)
	m.Reloaded("revocations", true, time.Unix(1000, 500e6))
	m.Reloaded("revocations", false, time.Unix(2000, 0))
	m.Refused("bad_signature")
	m.Answered(0, "llama3.2:latest", 1000, 26, 259)
	expect(t, scrape(t, m),
		`ollama_proxy_reload_success{source="revocations"} 0`,
		`ollama_proxy_reload_timestamp_seconds{source="revocations"} 1000.5`,
		`ollama_proxy_revocations 7`,
		fmt.Sprintf(`ollama_proxy_revocations_hash %v`, float64(1<<48-1)),
		`ollama_proxy_secret_fingerprint 42`,
		`ollama_proxy_refusals_total{reason="bad_signature"} 1`,
		`ollama_proxy_tokens_total{kind="prompt",model="llama3.2:latest"} 26`,
		`ollama_proxy_tokens_total{kind="completion",model="llama3.2:latest"} 259`,
		`ollama_proxy_model_bytes_total{model="llama3.2:latest"} 1000`,
	)
}

// TestModelSeriesAreBounded: Ollama has a bounded number of models at a time, but
// whoever may create and delete them can use any number of names.
func TestModelSeriesAreBounded(t *testing.T) {
	m := newMetrics(&inForce{})
	expect(t, scrape(t, m), `ollama_proxy_tokens_total{kind="prompt",model="other"} 0`)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for n := range 3 * maxModels {
				m.Answered(0, fmt.Sprint("model-", n), 3, 1, 2)
			}
		})
	}
	all.Wait()
	text := scrape(t, m)
	if n := strings.Count(text, "\nollama_proxy_tokens_total{"); n != 2*(maxModels+1) {
		t.Errorf("%d series, want %d", n, 2*(maxModels+1))
	}
	expect(t, text,
		fmt.Sprintf(`ollama_proxy_tokens_total{kind="prompt",model="other"} %d`, 4*2*maxModels),
		fmt.Sprintf(`ollama_proxy_tokens_total{kind="completion",model="other"} %d`, 2*4*2*maxModels),
	)
}

func TestNamesAndHelpAreWellFormed(t *testing.T) {
	m := newMetrics(&inForce{})
	m.RequestEnded(0, "GET", 200, time.Second)
	m.StreamEnded(0, "complete")
	m.Reloaded("secrets", true, time.Now())
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func BenchmarkPassed(b *testing.B) {
	m := newMetrics(&inForce{})
	b.ReportAllocs()
	for b.Loop() {
		m.Passed(0, 0, 200, 20*time.Millisecond)
	}
}

func BenchmarkRequest(b *testing.B) {
	m := newMetrics(&inForce{})
	b.ReportAllocs()
	for b.Loop() {
		m.RequestStarted(0)
		m.Forwarded(time.Microsecond)
		m.FirstByte(0, time.Second)
		m.RequestEnded(0, "POST", 200, time.Second)
	}
}

// BenchmarkScrape scrapes metrics of which every series exists: 32 routes, 100 models
// and, if they are counted, 1,000 keys.
func BenchmarkScrape(b *testing.B) {
	for _, keys := range []int{0, 1000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			var routes []string
			for n := range 32 {
				routes = append(routes, fmt.Sprint("/api/route-", n))
			}
			m := New(Options{Routes: routes, InForce: &inForce{}, PerKey: keys > 0})
			for n := range routes {
				m.RequestEnded(n, "POST", 200, time.Second)
				m.StreamEnded(n, "complete")
			}
			for n := range 100 {
				m.Answered(0, fmt.Sprint("model-", n), 1000, 26, 259)
			}
			for n := range keys {
				m.KeySeen(id(n), whole, nil)
			}
			h, r, w := m.Handler(), httptest.NewRequest(http.MethodGet, "/metrics", nil), httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				w.Body.Reset()
				h.ServeHTTP(w, r)
			}
			b.ReportMetric(float64(w.Body.Len()), "B/scrape")
		})
	}
}

func TestHistogramsAreNativeBesideClassic(t *testing.T) {
	for _, native := range []bool{false, true} {
		m := New(Options{Routes: []string{"/api/chat"}, InForce: &inForce{}, NativeHistograms: native})
		m.FirstByte(0, time.Second)
		m.Forwarded(time.Microsecond)
		families, err := m.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, f := range families {
			for _, metric := range f.GetMetric() {
				h := metric.GetHistogram()
				if h == nil || !strings.HasPrefix(f.GetName(), namespace) {
					continue
				}
				seen++
				if (h.Schema != nil) != native {
					t.Errorf("%s: native is %v, want %v", f.GetName(), h.Schema != nil, native)
				}
				if len(h.GetBucket()) == 0 {
					t.Errorf("%s has no classic buckets", f.GetName())
				}
			}
		}
		if seen != 4 {
			t.Errorf("%d histograms, want 4", seen)
		}
	}
}
