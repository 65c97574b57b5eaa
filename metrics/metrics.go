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

	// maxModels bounds how many models have series of their own, even if models are
	// created and deleted all the time.
	maxModels = 1000

	// other is the label value of everything without a series of its own.
	other = "other"
)

// Options says what to count. The lists hold every value that a label may have: nothing
// that a client sends becomes a label, so the number of series is bounded. Models and
// keys are the exceptions, and bounded each.
type Options struct {
	Version        string
	Routes         []string // a method's route is an index into this list
	RefusalReasons []string
	UpstreamErrors []string

	UpstreamChoices []string // reasons why one of several Ollamas gets a request
	UpstreamRetries []string // reasons why another one gets it after that

	InForce InForce

	// PerKey also counts by key, for up to 1,000 keys; the others share one series.
	PerKey bool

	// NativeHistograms makes the histograms native as well as classic. A scraper that
	// reads native ones ignores the classic ones.
	NativeHistograms bool
}

// Metrics holds the collectors in a registry of its own. Its methods are safe for
// concurrent use. Those that are called for each chunk make no lookup in a vector.
type Metrics struct {
	registry *prometheus.Registry
	routes   []route

	requests   *prometheus.CounterVec
	overhead   prometheus.Histogram
	refusals   *prometheus.CounterVec
	streams    *prometheus.CounterVec
	tokens     *prometheus.CounterVec
	modelBytes *prometheus.CounterVec
	keys       *keys // nil if keys are not counted

	upstreams *upstreams

	reloadSuccess *prometheus.GaugeVec
	reloadTime    *prometheus.GaugeVec

	requestCounters childCache[request, prometheus.Counter]
	modelCounters   childCache[string, perModel]
}

// firstByteBounds are the upper bounds of the buckets of time_to_first_byte_seconds.
var firstByteBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320}

// request holds the labels by which a request is counted.
type request struct {
	route  int
	method string
	code   int
}

// perModel holds the counters of one model.
type perModel struct{ prompt, completion, bytes prometheus.Counter }

// route holds the children of one route, so that no event needs a lookup.
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

// InForce reports which secrets and revocations are in use at the time of a scrape. The
// numbers have at most 48 bits, so that a float64 holds them exactly.
type InForce interface {
	Revocations() int
	RevocationsHash() uint64
	SecretFingerprint() uint64
}

// New registers all collectors. The series of failures exist from the start with the
// value 0, so that Prometheus sees the first failure as an increase.
func New(o Options) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: counters("requests_total", "Requests that have ended, by status; 499: the client left before the end.", "route", "method", "code"),
		overhead: prometheus.NewHistogram(o.histogram("overhead_seconds", "Time that the proxy takes before it sends a request to Ollama, without the time to read the client's body.",
			10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3)),
		refusals:   counters("refusals_total", "Requests that the proxy refused itself, by reason.", "reason"),
		streams:    counters("streams_total", "Streamed responses that have ended, by outcome.", "route", "outcome"),
		tokens:     counters("tokens_total", "Tokens as reported in Ollama's responses.", "model", "kind"),
		modelBytes: counters("model_bytes_total", "Bytes of Ollama's responses by model, counted when a response has ended.", "model"),

		upstreams: newUpstreams(o),

		reloadSuccess: gauges("reload_success", "1 if the last reload succeeded; 0: what was loaded before is still in use.", "source"),
		reloadTime:    gauges("reload_timestamp_seconds", "Time of the last successful reload.", "source"),
	}
	duration := o.histograms("request_duration_seconds", "Time from a request's arrival to the end of its response.",
		0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1280)
	firstByte := o.histograms("time_to_first_byte_seconds", "Time from a request's arrival to the first byte of Ollama's response.", firstByteBounds...)
	gap := o.histograms("inter_chunk_seconds", "Time between the chunks of a streamed response.",
		0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
	requestBytes := counters("request_bytes_total", "Bytes of request bodies, counted as they pass.", "route")
	streamBytes := counters("stream_bytes_total", "Bytes of Ollama's responses, counted as they pass.", "route")
	inFlight := gauges("in_flight_requests", "Requests that have arrived and have not ended.", "route")
	activeStreams := gauges("active_streams", "Streamed responses that have begun and have not ended.", "route")
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
	build := gauges("build_info", "1, labelled with the running version.", "version")
	build.WithLabelValues(o.Version).Set(1)
	m.registry.MustRegister(
		m.requests, duration, firstByte, gap, m.overhead, requestBytes, streamBytes, m.streams,
		inFlight, activeStreams, m.refusals, m.tokens, m.modelBytes, build,
		m.reloadSuccess, m.reloadTime,
		observed("revocations", "Entries in the revocation list in use.", func() float64 { return float64(o.InForce.Revocations()) }),
		observed("revocations_hash", "A number that is equal on replicas with the same revocation list.", func() float64 { return float64(o.InForce.RevocationsHash()) }),
		observed("secret_fingerprint", "A number that is equal on replicas with the same secrets.", func() float64 { return float64(o.InForce.SecretFingerprint()) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.modelCounters.max, m.modelCounters.overflow = maxModels+1, other
	m.Answered(0, other, 0, 0, 0)
	m.registry.MustRegister(m.upstreams.collectors()...)
	if o.PerKey {
		m.keys = newKeys()
		m.registry.MustRegister(m.keys.requests, m.keys.tokens, m.keys.streamBytes)
	}
	return m
}

// Handler serves the metrics in the formats that Prometheus asks for.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// RequestStarted counts a request in. RequestEnded must be called once for each.
func (m *Metrics) RequestStarted(route int) { m.routes[route].inFlight.Inc() }

// RequestEnded counts a request out, by its method and status, and observes the time it
// took. The method must be one of a fixed number.
func (m *Metrics) RequestEnded(route int, method string, code int, took time.Duration) {
	r := &m.routes[route]
	r.inFlight.Dec()
	r.duration.Observe(took.Seconds())
	m.requestCounters.get(request{route, method, code}, func(r request) prometheus.Counter {
		return m.requests.WithLabelValues(m.routes[r.route].name, r.method, strconv.Itoa(r.code))
	}).Inc()
}

// Refused counts a request that the proxy refused, by reason.
func (m *Metrics) Refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }

// Forwarded observes the time that the proxy took before it sent a request.
func (m *Metrics) Forwarded(overhead time.Duration) { m.overhead.Observe(overhead.Seconds()) }

// Uploaded counts bytes of a request body.
func (m *Metrics) Uploaded(route, bytes int) { m.routes[route].requestBytes.Add(float64(bytes)) }

// FirstByte observes the time from a request's arrival to the first byte of the
// response.
func (m *Metrics) FirstByte(route int, after time.Duration) {
	m.routes[route].firstByte.Observe(after.Seconds())
}

// StreamStarted counts a streamed response in. StreamEnded must be called once for each.
func (m *Metrics) StreamStarted(route int) { m.routes[route].activeStreams.Inc() }

// Passed counts bytes of a response, and observes the time since the last chunk; 0 if
// this is the first. key is from KeySeen, or 0.
func (m *Metrics) Passed(route, key, bytes int, gap time.Duration) {
	r := &m.routes[route]
	r.streamBytes.Add(float64(bytes))
	if key > 0 {
		m.keys.slots[key].streamBytes.Add(float64(bytes))
	}
	if gap > 0 {
		r.gap.Observe(gap.Seconds())
	}
}

// StreamEnded counts a streamed response out, by outcome.
func (m *Metrics) StreamEnded(route int, outcome string) {
	r := &m.routes[route]
	r.activeStreams.Dec()
	m.streams.WithLabelValues(r.name, outcome).Inc()
}

// Answered counts the bytes of a whole response, and the tokens of prompt and
// completion, by model. Models beyond the first 1,000 share one series. key is from
// KeySeen, or 0.
func (m *Metrics) Answered(key int, model string, bytes, prompt, completion int64) {
	counted := m.modelCounters.get(model, func(model string) perModel {
		return perModel{
			m.tokens.WithLabelValues(model, "prompt"), m.tokens.WithLabelValues(model, "completion"), m.modelBytes.WithLabelValues(model),
		}
	})
	counted.bytes.Add(float64(bytes))
	counted.prompt.Add(float64(prompt))
	counted.completion.Add(float64(completion))
	if key > 0 {
		m.keys.slots[key].tokens.Add(float64(prompt + completion))
	}
}

// Reloaded records whether a reload of the source succeeded, and if so, when.
func (m *Metrics) Reloaded(source string, ok bool, at time.Time) {
	success := m.reloadSuccess.WithLabelValues(source)
	if !ok {
		success.Set(0)
		return
	}
	success.Set(1)
	m.reloadTime.WithLabelValues(source).Set(float64(at.UnixMilli()) / 1000)
}

// WatchCertificate adds a gauge of the time at which the certificate in use expires. It
// must be called once at most.
func (m *Metrics) WatchCertificate(notAfter func() time.Time) {
	m.registry.MustRegister(observed("tls_not_after_timestamp_seconds", "Time at which the certificate in use expires.", func() float64 {
		return float64(notAfter().Unix())
	}))
}

// observed returns a gauge whose value is read at each scrape.
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
		// Each bucket is 10 % wider than the one before; if there are more than 160, they are merged.
		h.NativeHistogramBucketFactor = 1.1
		h.NativeHistogramMaxBucketNumber = 160
		h.NativeHistogramMinResetDuration = time.Hour
	}
	return h
}
