// Package metrics counts what the proxy does, for Prometheus: one collector
// per fact, one method per event.
package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	namespace = "ollama_proxy"

	// maxModels bounds how many models have series of their own, however many
	// come and go: 1,000.
	maxModels = 1000

	// other is the label of what has no series of its own.
	other = "other"
)

// Options says what to count. The lists hold all the values that labels may
// have: nothing a client sends becomes one, so the number of series is fixed.
type Options struct {
	Version        string
	Routes         []string // a method's route is a place in this list
	RefusalReasons []string
	UpstreamErrors []string

	UpstreamChoices []string // why one of several Ollamas gets a request
	UpstreamRetries []string // why another one does after it

	InForce InForce

	// PerKey counts by key as well, for up to 1,000 of them; the others
	// share one series.
	PerKey bool

	// NativeHistograms makes histograms native ones beside the classic. A
	// scraper that takes the native ones drops the classic.
	NativeHistograms bool
}

// Metrics holds the collectors on a registry of its own. Its methods are safe
// for concurrent use, and those that are called once per chunk look nothing up.
type Metrics struct {
	registry *prometheus.Registry
	routes   []route

	requests   *prometheus.CounterVec
	overhead   prometheus.Histogram
	refusals   *prometheus.CounterVec
	streams    *prometheus.CounterVec
	tokens     *prometheus.CounterVec
	modelBytes *prometheus.CounterVec
	keys       *keys // nil if they are not counted

	upstreams *upstreams

	reloadSuccess *prometheus.GaugeVec
	reloadTime    *prometheus.GaugeVec

	ended   once[request, prometheus.Counter]
	byModel once[string, modelCounters]
}

// firstByteBounds are the upper bounds of the buckets, in seconds.
var firstByteBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320}

// request is what a request is counted by.
type request struct {
	route  int
	method string
	code   int
}

type modelCounters struct{ prompt, completion, bytes prometheus.Counter }

// route holds the children of one route, so that events need no lookup.
type route struct {
	name          string
	duration      prometheus.Observer
	firstByte     prometheus.Observer
	gap           prometheus.Observer
	requestBytes  prometheus.Counter
	streamBytes   prometheus.Counter
	inFlight      prometheus.Gauge
	activeStreams prometheus.Gauge
}

// InForce says which keys hold when Prometheus asks. The numbers have at most 48
// bits, so that they survive as floating-point ones.
type InForce interface {
	Revocations() int
	RevocationsHash() uint64
	SecretFingerprint() uint64
}

// New registers all collectors. Series that a counter of failures will have
// exist from the start at 0, so that the first failure is an increase.
func New(o Options) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: counters("requests_total", "Requests, by status; 499: the client left before the end.", "route", "method", "code"),
		overhead: prometheus.NewHistogram(o.histogram("overhead_seconds", "Time that the proxy adds before a request leaves for Ollama, reading the client's body apart.",
			10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3)),
		refusals:   counters("refusals_total", "Requests that the proxy refused itself, by reason.", "reason"),
		streams:    counters("streams_total", "Streamed answers that ended, by how.", "route", "outcome"),
		tokens:     counters("tokens_total", "Tokens as Ollama counted them, where its answer says.", "model", "kind"),
		modelBytes: counters("model_bytes_total", "Bytes of Ollama's answers, counted at their end, by the model that they are about.", "model"),

		upstreams: newUpstreams(o),

		reloadSuccess: gauges("reload_success", "1 if the last reload went well; otherwise what was loaded before is in force.", "source"),
		reloadTime:    gauges("reload_timestamp_seconds", "When the last reload that went well was.", "source"),
	}
	duration := o.histograms("request_duration_seconds", "Time from a request's arrival to the end of its answer.",
		0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280)
	firstByte := o.histograms("time_to_first_byte_seconds", "Time from a request's arrival to the first byte of Ollama's answer.", firstByteBounds...)
	gap := o.histograms("inter_chunk_seconds", "Time between the chunks of a streamed answer.",
		0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
	requestBytes := counters("request_bytes_total", "Bytes of request bodies, as they pass.", "route")
	streamBytes := counters("stream_bytes_total", "Bytes of Ollama's answers, as they pass.", "route")
	inFlight := gauges("in_flight_requests", "Requests that have arrived and not ended.", "route")
	activeStreams := gauges("active_streams", "Streamed answers that have begun and not ended.", "route")
	for _, name := range o.Routes {
		m.routes = append(m.routes, route{
			name:          name,
			duration:      duration.WithLabelValues(name),
			firstByte:     firstByte.WithLabelValues(name),
			gap:           gap.WithLabelValues(name),
			requestBytes:  requestBytes.WithLabelValues(name),
			streamBytes:   streamBytes.WithLabelValues(name),
			inFlight:      inFlight.WithLabelValues(name),
			activeStreams: activeStreams.WithLabelValues(name),
		})
	}
	for _, reason := range o.RefusalReasons {
		m.refusals.WithLabelValues(reason)
	}
	build := gauges("build_info", "1, with the version that runs.", "version")
	build.WithLabelValues(o.Version).Set(1)
	m.registry.MustRegister(
		m.requests, duration, firstByte, gap, m.overhead, requestBytes, streamBytes, m.streams,
		inFlight, activeStreams, m.refusals, m.tokens, m.modelBytes, build,
		m.reloadSuccess, m.reloadTime,
		observed("revocations", "Revoked keys on the list in force.", func() float64 { return float64(o.InForce.Revocations()) }),
		observed("revocations_hash", "A number that is the same on replicas with the same list of revoked keys.", func() float64 { return float64(o.InForce.RevocationsHash()) }),
		observed("secret_fingerprint", "A number that is the same on replicas with the same secrets.", func() float64 { return float64(o.InForce.SecretFingerprint()) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.byModel.most, m.byModel.rest = maxModels+1, other
	m.Answered(0, other, 0, 0, 0)
	m.registry.MustRegister(m.upstreams.collectors()...)
	if o.PerKey {
		m.keys = newKeys()
		m.registry.MustRegister(m.keys.requests, m.keys.tokens, m.keys.streamBytes)
	}
	return m
}

// Handler serves the metrics to Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// RequestStarted counts a request in.
func (m *Metrics) RequestStarted(route int) { m.routes[route].inFlight.Inc() }

// RequestEnded counts a request out, with its method, its status and the time it
// took.
func (m *Metrics) RequestEnded(route int, method string, code int, took time.Duration) {
	r := &m.routes[route]
	r.inFlight.Dec()
	r.duration.Observe(took.Seconds())
	m.ended.get(request{route, method, code}, func(r request) prometheus.Counter {
		return m.requests.WithLabelValues(m.routes[r.route].name, r.method, strconv.Itoa(r.code))
	}).Inc()
}

// Refused counts a refusal by its reason.
func (m *Metrics) Refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }

// Forwarded takes the time that the proxy added before a request left.
func (m *Metrics) Forwarded(overhead time.Duration) { m.overhead.Observe(overhead.Seconds()) }

// Uploaded counts bytes of a request body.
func (m *Metrics) Uploaded(route, bytes int) { m.routes[route].requestBytes.Add(float64(bytes)) }

// FirstByte takes the time to the first byte of an answer.
func (m *Metrics) FirstByte(route int, after time.Duration) {
	m.routes[route].firstByte.Observe(after.Seconds())
}

// StreamStarted counts a stream in.
func (m *Metrics) StreamStarted(route int) { m.routes[route].activeStreams.Inc() }

// Passed counts bytes of an answer, and takes the time since those before; 0
// means that there were none.
func (m *Metrics) Passed(route, key, bytes int, gap time.Duration) {
	r := &m.routes[route]
	r.streamBytes.Add(float64(bytes))
	if key > 0 {
		m.keys.children[key].streamBytes.Add(float64(bytes))
	}
	if gap > 0 {
		r.gap.Observe(gap.Seconds())
	}
}

// StreamEnded counts a stream out, with its outcome.
func (m *Metrics) StreamEnded(route int, outcome string) {
	r := &m.routes[route]
	r.activeStreams.Dec()
	m.streams.WithLabelValues(r.name, outcome).Inc()
}

// Answered counts the bytes of an answer, and the tokens of its prompt and its
// own, by the model. Models beyond the first 1,000 share one series.
func (m *Metrics) Answered(key int, model string, bytes, prompt, completion int64) {
	counted := m.byModel.get(model, func(model string) modelCounters {
		return modelCounters{
			m.tokens.WithLabelValues(model, "prompt"), m.tokens.WithLabelValues(model, "completion"), m.modelBytes.WithLabelValues(model),
		}
	})
	counted.bytes.Add(float64(bytes))
	counted.prompt.Add(float64(prompt))
	counted.completion.Add(float64(completion))
	if key > 0 {
		m.keys.children[key].tokens.Add(float64(prompt + completion))
	}
}

// Reloaded takes how a reload went, and when.
func (m *Metrics) Reloaded(source string, ok bool, at time.Time) {
	success := m.reloadSuccess.WithLabelValues(source)
	if !ok {
		success.Set(0)
		return
	}
	success.Set(1)
	m.reloadTime.WithLabelValues(source).Set(float64(at.UnixMilli()) / 1000)
}

// WatchCertificate shows when the certificate in use ends.
func (m *Metrics) WatchCertificate(notAfter func() time.Time) {
	m.registry.MustRegister(observed("tls_not_after_timestamp_seconds", "When the certificate in use ends.", func() float64 {
		return float64(notAfter().Unix())
	}))
}

func observed(name, help string, value func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, value)
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func (o *Options) histograms(name, help string, buckets ...float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(o.histogram(name, help, buckets...), []string{"route"})
}

func (o *Options) histogram(name, help string, buckets ...float64) prometheus.HistogramOpts {
	h := prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}
	if o.NativeHistograms {
		// Buckets 10 % wide; wider ones rather than more than 160 of them.
		h.NativeHistogramBucketFactor = 1.1
		h.NativeHistogramMaxBucketNumber = 160
		h.NativeHistogramMinResetDuration = time.Hour
	}
	return h
}
