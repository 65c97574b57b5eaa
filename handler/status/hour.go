package status

import (
	"context"
	"slices"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// Hour is what was counted in each minute of the last hour, or since the start,
// if that is less. The last minute is the one that runs.
type Hour struct {
	Seconds  float64  `json:"seconds"`  // that the last minute has lasted
	Requests []uint64 `json:"requests"` // that ended
	Failed   []uint64 `json:"failed"`   // of these, with 500 or more
	Left     []uint64 `json:"left"`     // of these, whose client left
	Refused  []uint64 `json:"refused"`  // of these, by the proxy itself
	Bytes    []uint64 `json:"bytes"`    // of answers
	Tokens   []uint64 `json:"tokens"`   // of prompts and answers

	// P50 and P95 are the times to the first byte of chats, in seconds, as far
	// as the buckets of a histogram tell; nil where there was none.
	P50 []*float64 `json:"p50"`
	P95 []*float64 `json:"p95"`

	AllP50  *float64          `json:"hour_p50"` // of the hour
	AllP95  *float64          `json:"hour_p95"`
	Reasons map[string]uint64 `json:"reasons"` // of Refused, in the hour; none that is 0
}

const (
	minute = time.Minute

	// minutes is how many an Hour has.
	minutes = 60
)

// sample is where the counters stood at one moment.
type sample struct {
	at                                             time.Time
	requests, failed, left, refused, bytes, tokens uint64
	refusals                                       map[string]uint64
	firstByte                                      []uint64 // of chats
}

func markOf(t Totals) sample {
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

// history remembers where the counters stood at the beginning of each minute.
type history struct{ marks []sample }

func (p *history) begin(m sample) {
	if len(p.marks) == minutes {
		p.marks = slices.Delete(p.marks, 0, 1)
	}
	p.marks = append(p.marks, m)
}

// hour is what was counted up to now.
func (p *history) hour(now sample, bounds []float64) Hour {
	h := Hour{Seconds: now.at.Sub(p.marks[len(p.marks)-1].at).Seconds(), Reasons: map[string]uint64{}}
	for i, from := range p.marks {
		to := now
		if i+1 < len(p.marks) {
			to = p.marks[i+1]
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
	first := p.marks[0]
	h.AllP50 = quantile(0.50, first.firstByte, now.firstByte, bounds)
	h.AllP95 = quantile(0.95, first.firstByte, now.firstByte, bounds)
	for reason, n := range now.refusals {
		if n -= first.refusals[reason]; n > 0 {
			h.Reasons[reason] = n
		}
	}
	return h
}

// quantile estimates the value below which the share q of what was counted
// between two moments lies: within its bucket it takes all values for equally
// likely, as Prometheus does. The last bound stands for everything above it. If
// nothing was counted, quantile returns nil.
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

// Remember marks each minute until the context ends.
func (w *Watcher) Remember(ctx context.Context) {
	ticker := time.NewTicker(minute)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		m := markOf(w.Totals())
		w.mu.Lock()
		w.past.begin(m)
		w.mu.Unlock()
	}
}
