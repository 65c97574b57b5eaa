package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Totals is a snapshot of the registry, for those who look at this replica alone,
// without Prometheus. All counts are since the start of the process.
type Totals struct {
	Requests map[int]uint64    // that have ended, by status
	Refusals map[string]uint64 // by reason
	Bytes    uint64            // of responses, counted as they pass

	// FirstByte counts first bytes by the time they took, for each route: those within
	// each of FirstByteBounds, in seconds, cumulatively, and last all of them.
	FirstByte       [][]uint64
	FirstByteBounds []float64

	// By model: tokens, and bytes, which are counted when a response has ended.
	ModelPrompt, ModelCompletion, ModelBytes map[string]uint64

	// By label (empty: none) and id; nil if keys are not counted.
	KeyRequests, KeyTokens, KeyBytes map[[2]string]uint64

	// By source: whether the last reload succeeded, and the time of the last that did.
	ReloadOK   map[string]bool
	ReloadedAt map[string]time.Time
}

// Totals reads the registry, without the metrics of the Go runtime and the process.
func (m *Metrics) Totals() Totals {
	t := Totals{
		Requests:        map[int]uint64{},
		Refusals:        counts(m.refusals),
		FirstByteBounds: firstByteBounds,
		ModelPrompt:     map[string]uint64{},
		ModelCompletion: map[string]uint64{},
		ModelBytes:      counts(m.modelBytes),
		ReloadOK:        map[string]bool{},
		ReloadedAt:      map[string]time.Time{},
	}
	each(m.requests, func(s *dto.Metric) {
		code, _ := strconv.Atoi(label(s, "code"))
		t.Requests[code] += count(s)
	})
	for _, r := range m.routes {
		t.Bytes += count(sample(r.streamBytes))
		t.FirstByte = append(t.FirstByte, buckets(sample(r.firstByte.(prometheus.Metric))))
	}
	each(m.tokens, func(s *dto.Metric) {
		byModel := t.ModelCompletion
		if label(s, "kind") == "prompt" {
			byModel = t.ModelPrompt
		}
		byModel[label(s, "model")] = count(s)
	})
	if m.keys != nil {
		t.KeyRequests, t.KeyTokens, t.KeyBytes = countsByKey(m.keys.requests), countsByKey(m.keys.tokens), countsByKey(m.keys.streamBytes)
	}
	each(m.reloadSuccess, func(s *dto.Metric) { t.ReloadOK[label(s, "source")] = s.GetGauge().GetValue() == 1 })
	each(m.reloadTime, func(s *dto.Metric) {
		t.ReloadedAt[label(s, "source")] = time.UnixMilli(int64(s.GetGauge().GetValue() * 1000))
	})
	return t
}

// counts returns the counters of a vector with one label, by its value.
func counts(c prometheus.Collector) map[string]uint64 {
	all := map[string]uint64{}
	each(c, func(s *dto.Metric) { all[s.GetLabel()[0].GetValue()] = count(s) })
	return all
}

// countsByKey returns the counters of a vector by a key's label and id.
func countsByKey(c prometheus.Collector) map[[2]string]uint64 {
	all := map[[2]string]uint64{}
	each(c, func(s *dto.Metric) { all[[2]string{label(s, "key"), label(s, "id")}] = count(s) })
	return all
}

// each calls f with every series of a collector.
func each(c prometheus.Collector, f func(*dto.Metric)) {
	all := make(chan prometheus.Metric)
	go func() {
		defer close(all)
		c.Collect(all)
	}()
	for one := range all {
		f(sample(one))
	}
}

// sample reads a metric.
func sample(m prometheus.Metric) *dto.Metric {
	s := new(dto.Metric)
	m.Write(s) // cannot fail for the metrics that New makes
	return s
}

func count(s *dto.Metric) uint64 { return uint64(s.GetCounter().GetValue()) }

func label(s *dto.Metric, name string) string {
	for _, l := range s.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// buckets returns the cumulative counts of a histogram's buckets, and last the count of
// all.
func buckets(s *dto.Metric) (all []uint64) {
	for _, b := range s.GetHistogram().GetBucket() {
		all = append(all, b.GetCumulativeCount())
	}
	return append(all, s.GetHistogram().GetSampleCount())
}
