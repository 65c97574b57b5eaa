package metrics

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// upstreams counts by Ollama. The number of an Ollama is its index in children, which
// only grows: an Ollama that is removed leaves no series, but keeps its index.
type upstreams struct {
	up       *prometheus.GaugeVec
	failures *prometheus.CounterVec
	requests *prometheus.CounterVec
	retries  *prometheus.CounterVec
	inFlight *prometheus.GaugeVec

	kindValues, choiceValues, reasonValues []string // the values of the labels

	children atomic.Pointer[[]*upstreamSeries]
	changeMu sync.Mutex // held to change children
}

// upstreamSeries holds the children of one Ollama, so that no event needs a lookup in a
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
		up:         gauges("upstream_up", "1 if the Ollama responded to the last probe.", "upstream"),
		failures:   counters("upstream_errors_total", "Failures of an Ollama to respond, or to complete its response, by kind.", "upstream", "kind"),
		requests:   counters("upstream_requests_total", "Requests sent to one of several Ollamas, by the reason for the choice: conversation: it served the conversation last; loaded: it has the model loaded; cold: it must load the model; any: no Ollama is known to have the model, or the request has none; named: the client named it.", "upstream", "choice"),
		retries:    counters("upstream_retries_total", "Requests that failed on one of several Ollamas and were sent to another, by reason.", "upstream", "reason"),
		inFlight:   gauges("upstream_in_flight_requests", "Requests in flight on one of several Ollamas.", "upstream"),
		kindValues: o.UpstreamErrors, choiceValues: o.UpstreamChoices, reasonValues: o.UpstreamRetries,
	}
	u.children.Store(&[]*upstreamSeries{})
	return u
}

func (u *upstreams) collectors() []prometheus.Collector {
	return []prometheus.Collector{u.up, u.failures, u.requests, u.retries, u.inFlight}
}

// UpstreamJoined adds the series of an Ollama, and returns the number that stands for it
// in the other methods.
func (m *Metrics) UpstreamJoined(name string) int {
	u := m.upstreams
	u.changeMu.Lock()
	defer u.changeMu.Unlock()
	children := slices.Clone(*u.children.Load())
	s := &upstreamSeries{
		name: name, up: u.up.WithLabelValues(name), inFlight: u.inFlight.WithLabelValues(name),
		failures: childrenOf(u.failures, name, u.kindValues), requests: childrenOf(u.requests, name, u.choiceValues), retries: childrenOf(u.retries, name, u.reasonValues),
	}
	children = append(children, s)
	u.children.Store(&children)
	return len(children) - 1
}

// childrenOf returns the children of one Ollama, by the value of the second label.
func childrenOf(of *prometheus.CounterVec, name string, values []string) map[string]prometheus.Counter {
	all := map[string]prometheus.Counter{}
	for _, v := range values {
		all[v] = of.WithLabelValues(name, v)
	}
	return all
}

// UpstreamLeft removes the series of an Ollama.
func (m *Metrics) UpstreamLeft(upstream int) {
	u := m.upstreams
	u.changeMu.Lock()
	defer u.changeMu.Unlock()
	labels := prometheus.Labels{"upstream": m.upstream(upstream).name}
	u.up.DeletePartialMatch(labels)
	u.inFlight.DeletePartialMatch(labels)
	for _, vec := range []*prometheus.CounterVec{u.failures, u.requests, u.retries} {
		vec.DeletePartialMatch(labels)
	}
}

func (m *Metrics) upstream(number int) *upstreamSeries { return (*m.upstreams.children.Load())[number] }

// UpstreamUp records whether an Ollama is up.
func (m *Metrics) UpstreamUp(upstream int, up bool) {
	value := 0.0
	if up {
		value = 1
	}
	m.upstream(upstream).up.Set(value)
}

// UpstreamFailed counts a failure of an Ollama, by kind, one of Options.UpstreamErrors.
func (m *Metrics) UpstreamFailed(upstream int, kind string) {
	m.upstream(upstream).failures[kind].Inc()
}

// UpstreamEntered counts in a request that is sent to one of several Ollamas, by the
// reason for the choice, one of Options.UpstreamChoices.
func (m *Metrics) UpstreamEntered(upstream int, choice string) {
	s := m.upstream(upstream)
	s.inFlight.Inc()
	s.requests[choice].Inc()
}

// UpstreamDone counts out a request that UpstreamEntered counted in.
func (m *Metrics) UpstreamDone(upstream int) { m.upstream(upstream).inFlight.Dec() }

// UpstreamRetried counts a request that failed on an Ollama and is sent to another, by
// reason, one of Options.UpstreamRetries.
func (m *Metrics) UpstreamRetried(upstream int, reason string) {
	m.upstream(upstream).retries[reason].Inc()
}
