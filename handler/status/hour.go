package status

import (
	"context"
	"slices"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// Hour holds counts for each minute of the last hour, or since the start, if that is
// less. The last element is the current minute, which is not over.
type Hour struct {
	Seconds  float64  `json:"seconds"`  // since the current minute began
	Requests []uint64 `json:"requests"` // that ended
	Failed   []uint64 `json:"failed"`   // those of Requests with a status from 500 on
	Left     []uint64 `json:"left"`     // those of Requests whose client left before the end
	Refused  []uint64 `json:"refused"`  // those of Requests that the proxy itself refused
	Bytes    []uint64 `json:"bytes"`    // of answers
	Tokens   []uint64 `json:"tokens"`   // of prompts and answers

	// P50 and P95 are quantiles of the time to the first byte of chats, in seconds,
	// estimated from the buckets of a histogram; nil for a minute without a chat.
	P50 []*float64 `json:"p50"`
	P95 []*float64 `json:"p95"`

	AllP50  *float64          `json:"hour_p50"` // of the whole hour
	AllP95  *float64          `json:"hour_p95"`
	Reasons map[string]uint64 `json:"reasons"` // of Refused, in the whole hour; without zeros
}

const (
	minute = time.Minute

	// minutes is the number of minutes in an Hour.
	minutes = 60
)

// sample holds the values of the counters at one moment.
type sample struct {
	at                                             time.Time
	requests, failed, left, refused, bytes, tokens uint64
	refusals                                       map[string]uint64
	firstByte                                      []uint64 // of chats
}

// sampleOf sums up the totals.
func sampleOf(t Totals) sample {
	m := sample{at: time.Now(), bytes: t.Bytes, refusals: t.Refusals}
	for code, n := range t.Requests {
		m.requests += n
		switch {
		case code >= 500:
			m.failed += n
		case code == handler.StatusClientGone:
			m.left += n
		}
	}
	for _, n := range t.Refusals {
		m.refused += n
	}
	for _, byModel := range []map[string]uint64{t.ModelPrompt, t.ModelCompletion} {
		for _, n := range byModel {
			m.tokens += n
		}
	}
	m.firstByte = make([]uint64, len(t.FirstByteBounds)+1)
	for _, r := range api.Routes.All {
		if r.Class != signer.Chat || r.Id >= len(t.FirstByte) {
			continue
		}
		for i, n := range t.FirstByte[r.Id] {
			m.firstByte[i] += n
		}
	}
	return m
}

// history holds the samples at the beginning of each minute of the last hour.
type history struct{ samples []sample }

// add adds a sample, and drops the oldest one if there are enough.
func (p *history) add(m sample) {
	if len(p.samples) == minutes {
		p.samples = slices.Delete(p.samples, 0, 1)
	}
	p.samples = append(p.samples, m)
}

// hour returns the counts of each minute up to now.
func (p *history) hour(now sample, bounds []float64) Hour {
	h := Hour{Seconds: now.at.Sub(p.samples[len(p.samples)-1].at).Seconds(), Reasons: map[string]uint64{}}
	for i, from := range p.samples {
		to := now
		if i+1 < len(p.samples) {
			to = p.samples[i+1]
		}
		h.Requests = append(h.Requests, to.requests-from.requests)
		h.Failed = append(h.Failed, to.failed-from.failed)
		h.Left = append(h.Left, to.left-from.left)
		h.Refused = append(h.Refused, to.refused-from.refused)
		h.Bytes = append(h.Bytes, to.bytes-from.bytes)
		h.Tokens = append(h.Tokens, to.tokens-from.tokens)
		h.P50 = append(h.P50, quantile(0.50, from.firstByte, to.firstByte, bounds))
		h.P95 = append(h.P95, quantile(0.95, from.firstByte, to.firstByte, bounds))
	}
	first := p.samples[0]
	h.AllP50 = quantile(0.50, first.firstByte, now.firstByte, bounds)
	h.AllP95 = quantile(0.95, first.firstByte, now.firstByte, bounds)
	for reason, n := range now.refusals {
		if n -= first.refusals[reason]; n > 0 {
			h.Reasons[reason] = n
		}
	}
	return h
}

// quantile estimates the q-quantile of the observations between two moments, from the
// cumulative buckets of a histogram. Within a bucket it interpolates linearly, as
// Prometheus does. A quantile above the last bound is estimated as that bound. If there
// were no observations, quantile returns nil.
func quantile(q float64, from, to []uint64, bounds []float64) *float64 {
	all := float64(to[len(bounds)] - from[len(bounds)])
	if all == 0 {
		return nil
	}
	rank, below, low := q*all, 0.0, 0.0
	for i, bound := range bounds {
		upTo := float64(to[i] - from[i])
		if upTo >= rank {
			value := low + (bound-low)*(rank-below)/(upTo-below)
			return &value
		}
		below, low = upTo, bound
	}
	return &low
}

// RecordHistory samples the counters once a minute until the context ends.
func (w *Watcher) RecordHistory(ctx context.Context) {
	ticker := time.NewTicker(minute)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		m := sampleOf(w.Totals())
		w.mu.Lock()
		w.history.add(m)
		w.mu.Unlock()
	}
}
