package metrics

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// upstreams counts by Ollama. An Ollama's number is its place in children, which
// only grows: those that are gone leave no series, and a place that is too small
// to matter.
type upstreams struct {
	up       *prometheus.GaugeVec
	failures *prometheus.CounterVec
	requests *prometheus.CounterVec
	retries  *prometheus.CounterVec
	inFlight *prometheus.GaugeVec

	kinds, choices, reasons []string

	children atomic.Pointer[[]*upstreamSeries]
	changing sync.Mutex // held to change children
}

// upstream holds the children of one Ollama, so that events need no lookup in a
// vector.
type upstreamSeries struct {
	name     string
	up       prometheus.Gauge
	inFlight prometheus.Gauge
	failures map[string]prometheus.Counter
	requests map[string]prometheus.Counter
	retries  map[string]prometheus.Counter
}

func newUpstreams(o Options) *upstreams {
	u := &upstreams{
		up:       gauges("upstream_up", "1 if the Ollama answered when last looked after.", "upstream"),
		failures: counters("upstream_errors_total", "Times that an Ollama could not be reached, or did not bring its answer to a good end, by kind.", "upstream", "kind"),
		requests: counters("upstream_requests_total", "Requests sent to one of several Ollamas, by why that one: conversation: it served it last; loaded: it has the model loaded; cold: it is to load it; any: nobody is known to have it, or none is needed; named: by the client.", "upstream", "choice"),
		retries:  counters("upstream_retries_total", "Requests that came back from one of several Ollamas and were sent to another, by why.", "upstream", "reason"),
		inFlight: gauges("upstream_in_flight_requests", "Requests that one of several Ollamas has.", "upstream"),
		kinds:    o.UpstreamErrors, choices: o.UpstreamChoices, reasons: o.UpstreamRetries,
	}
	u.children.Store(&[]*upstreamSeries{})
	return u
}

func (u *upstreams) collectors() []prometheus.Collector {
	return []prometheus.Collector{u.up, u.failures, u.requests, u.retries, u.inFlight}
}

// UpstreamJoined makes the series of an Ollama, and gives the number that stands
// for it.
func (m *Metrics) UpstreamJoined(name string) int {
	u := m.upstreams
	u.changing.Lock()
	defer u.changing.Unlock()
	children := slices.Clone(*u.children.Load())
	one := &upstreamSeries{
		name: name, up: u.up.WithLabelValues(name), inFlight: u.inFlight.WithLabelValues(name),
		failures: childrenOf(u.failures, name, u.kinds), requests: childrenOf(u.requests, name, u.choices), retries: childrenOf(u.retries, name, u.reasons),
	}
	children = append(children, one)
	u.children.Store(&children)
	return len(children) - 1
}

func childrenOf(of *prometheus.CounterVec, name string, values []string) map[string]prometheus.Counter {
	all := map[string]prometheus.Counter{}
	for _, v := range values {
		all[v] = of.WithLabelValues(name, v)
	}
	return all
}

// UpstreamLeft takes its series away.
func (m *Metrics) UpstreamLeft(upstream int) {
	u := m.upstreams
	u.changing.Lock()
	defer u.changing.Unlock()
	gone := prometheus.Labels{"upstream": m.upstream(upstream).name}
	u.up.DeletePartialMatch(gone)
	u.inFlight.DeletePartialMatch(gone)
	for _, vec := range []*prometheus.CounterVec{u.failures, u.requests, u.retries} {
		vec.DeletePartialMatch(gone)
	}
}

func (m *Metrics) upstream(number int) *upstreamSeries { return (*m.upstreams.children.Load())[number] }

// UpstreamUp sets whether an Ollama answers.
func (m *Metrics) UpstreamUp(upstream int, up bool) {
	value := 0.0
	if up {
		value = 1
	}
	m.upstream(upstream).up.Set(value)
}

// UpstreamFailed counts a failure of an Ollama's by its kind.
func (m *Metrics) UpstreamFailed(upstream int, kind string) {
	m.upstream(upstream).failures[kind].Inc()
}

// UpstreamEntered counts a request in that is sent to one of several Ollamas,
// with why it is that one.
func (m *Metrics) UpstreamEntered(upstream int, choice string) {
	one := m.upstream(upstream)
	one.inFlight.Inc()
	one.requests[choice].Inc()
}

// UpstreamDone counts it out.
func (m *Metrics) UpstreamDone(upstream int) { m.upstream(upstream).inFlight.Dec() }

// UpstreamRetried counts a request that came back and was sent to another Ollama,
// by why.
func (m *Metrics) UpstreamRetried(upstream int, reason string) {
	m.upstream(upstream).retries[reason].Inc()
}
