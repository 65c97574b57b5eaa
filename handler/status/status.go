package status

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

// Totals are the values of the counters since the start. The fields have the same meaning
// as those of metrics.Totals.
type Totals struct {
	Requests map[int]uint64
	Refusals map[string]uint64
	Bytes    uint64

	FirstByte       [][]uint64
	FirstByteBounds []float64

	ModelPrompt, ModelCompletion, ModelBytes map[string]uint64

	KeyRequests, KeyTokens, KeyBytes map[[2]string]uint64

	ReloadOK   map[string]bool
	ReloadedAt map[string]time.Time
}

// InForce reports which revocations and secrets are in force; signer.Keyring implements
// it. The hash and the fingerprint have 48 bits.
type InForce interface {
	Revocations() int
	RevocationsHash() uint64
	SecretFingerprint() uint64
}

// Status describes a replica at one moment. Its strings are words of the proxy, or names
// of keys, models and Ollamas: other people have chosen the names, so they must be
// escaped where they are shown.
type Status struct {
	Version  string    `json:"version"`
	Now      time.Time `json:"now"`
	Started  time.Time `json:"started"`
	Draining bool      `json:"draining"`

	Requests int       `json:"requests"` // in flight
	Streams  int       `json:"streams"`  // those of Requests whose answer is a stream
	Running  []Running `json:"running"`  // the oldest of Requests, at most maxShown

	Hour Hour `json:"hour"`

	Models      []ModelTotals `json:"models"`       // those with most bytes first, at most maxShown
	Keys        []KeyTotals   `json:"keys"`         // those with most requests first, at most maxShown
	KeysCounted bool          `json:"keys_counted"` // the replica counts by key (--metrics-per-key)

	Upstreams []UpstreamStatus `json:"upstreams"`

	Revocations       int        `json:"revocations"`
	RevocationsHash   string     `json:"revocations_hash"`
	SecretFingerprint string     `json:"secret_fingerprint"`
	Reloads           []Reloaded `json:"reloads"`
	CertificateEnds   *time.Time `json:"certificate_ends,omitempty"` // nil: there is no certificate
}

// Running is a request in flight.
type Running struct {
	Number uint64  `json:"number"` // see InFlight.Number
	Key    string  `json:"key"`    // the label of the key; empty: it has none
	ID     string  `json:"id"`     // of the key; if it was narrowed, also ~ and its own id
	Route  string  `json:"route"`
	Model  string  `json:"model"` // empty: not known
	State  string  `json:"state"` // see InFlight.State
	Age    float64 `json:"age"`   // seconds since it arrived
	Quiet  float64 `json:"quiet"` // seconds since data was last transferred
	Bytes  int64   `json:"bytes"` // of the answer, sent to the client

	// Rate is the bytes a second since the status before this one or, if that did not
	// contain the request, since it arrived.
	Rate float64 `json:"rate"`
}

// ModelTotals counts the tokens and bytes of a model's answers since the start.
type ModelTotals struct {
	Model      string `json:"model"`
	Prompt     uint64 `json:"prompt_tokens"`
	Completion uint64 `json:"completion_tokens"`
	Bytes      uint64 `json:"bytes"`
}

// KeyTotals counts what a key was used for since the start. A holder of the key can choose
// the label, and the id of a narrowed key, which follows a "~", but not the id before
// that. If there are too many keys to count each, the others are counted together, with
// the label and the id "other".
type KeyTotals struct {
	Key      string `json:"key"` // the label; empty: it has none
	ID       string `json:"id"`
	Requests uint64 `json:"requests"`
	Tokens   uint64 `json:"tokens"`
	Bytes    uint64 `json:"bytes"`
}

// UpstreamStatus describes an Ollama, as this replica knows it.
type UpstreamStatus struct {
	Name     string   `json:"name"`
	Up       bool     `json:"up"`        // it answered the last probe
	Weight   int      `json:"weight"`    // its share of the requests, relative to the others
	InFlight int      `json:"in_flight"` // requests of this replica
	Models   int      `json:"models"`    // how many it has
	Loaded   []string `json:"loaded"`    // the models that are in its memory, or being loaded
}

// Reloaded describes the last reload of a source of configuration.
type Reloaded struct {
	Source string    `json:"source"`
	OK     bool      `json:"ok"`
	At     time.Time `json:"at"` // when a reload last succeeded; zero: never
}

const (
	// maxShown bounds how many requests, models and keys a Status lists each.
	maxShown = 100

	// minInterval is the least time between two reads of the counters, so that the cost
	// does not grow with the number of viewers.
	minInterval = 900 * time.Millisecond
)

// Watcher makes the status of a proxy, and keeps the history of the last hour.
type Watcher struct {
	WatcherOptions
	started time.Time

	mu        sync.Mutex
	history   history
	last      Status
	lastBytes map[uint64]int64 // InFlight.Sent in last, by InFlight.Number
}

// WatcherOptions configure a [Watcher]. All but Hosts and CertificateEnds are required.
type WatcherOptions struct {
	Proxy   *handler.Proxy
	Totals  func() Totals
	InForce InForce
	Version string
	Hosts   []string // allowed in the Host header, besides addresses and localhost

	CertificateEnds func() time.Time // nil: there is no certificate
}

// NewWatcher returns a Watcher. Its history grows only while RecordHistory runs.
func NewWatcher(o WatcherOptions) *Watcher {
	w := &Watcher{WatcherOptions: o, started: time.Now()}
	w.history.add(sampleOf(o.Totals()))
	return w
}

// Status returns the status, which is at most 900 ms old. It may be called from several
// goroutines at once.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	since := now.Sub(w.last.Now)
	if since < minInterval {
		return w.last
	}
	t := w.Totals()
	st := Status{
		Version:  w.Version,
		Now:      now,
		Started:  w.started,
		Draining: w.Proxy.Leaving(),
		Hour:     w.history.hour(sampleOf(t), t.FirstByteBounds),

		Models:      modelTotals(t),
		Keys:        keyTotals(t),
		KeysCounted: t.KeyRequests != nil,
		Upstreams:   upstreams(w.Proxy.UpstreamStates()),

		Revocations:       w.InForce.Revocations(),
		RevocationsHash:   fmt.Sprintf("%012x", w.InForce.RevocationsHash()),
		SecretFingerprint: fmt.Sprintf("%012x", w.InForce.SecretFingerprint()),
	}
	for _, source := range slices.Sorted(maps.Keys(t.ReloadOK)) {
		st.Reloads = append(st.Reloads, Reloaded{source, t.ReloadOK[source], t.ReloadedAt[source]})
	}
	if w.CertificateEnds != nil {
		ends := w.CertificateEnds()
		st.CertificateEnds = &ends
	}
	w.addRunning(&st, since)
	w.last = st
	return st
}

// addRunning fills in the requests in flight. Since is the time since the last status.
func (w *Watcher) addRunning(st *Status, since time.Duration) {
	all := w.Proxy.InFlight()
	bytesByNumber := make(map[uint64]int64, len(all))
	st.Requests = len(all)
	st.Running = make([]Running, 0, min(len(all), maxShown))
	for _, x := range slices.Backward(all) {
		state := x.State()
		if state == handler.StateStreaming {
			st.Streams++
		}
		bytes := x.Sent()
		bytesByNumber[x.Number()] = bytes
		if len(st.Running) == maxShown {
			continue
		}
		age := st.Now.Sub(x.Arrived())
		before, seen := w.lastBytes[x.Number()]
		interval := age
		if seen {
			interval = since
		}
		r := Running{
			Number: x.Number(), Key: x.Key().Label(), ID: x.Key().Name(), Route: x.Route(), Model: x.Model(), State: state,
			Age: age.Seconds(), Quiet: max(0, age-x.LastActivity()).Seconds(),
			Bytes: bytes, Rate: float64(bytes-before) / max(interval, time.Millisecond).Seconds(),
		}
		st.Running = append(st.Running, r)
	}
	w.lastBytes = bytesByNumber
}

// upstreams converts the states of all Ollamas.
func upstreams(states []upstream.State) []UpstreamStatus {
	all := make([]UpstreamStatus, 0, len(states))
	for _, u := range states {
		all = append(all, UpstreamStatus{u.Name, u.Up, u.Weight, u.InFlight, len(u.Models), u.Loaded})
	}
	return all
}

// modelTotals returns Status.Models.
func modelTotals(t Totals) []ModelTotals {
	all := make([]ModelTotals, 0, len(t.ModelBytes))
	for model, bytes := range t.ModelBytes {
		if bytes > 0 { // "other" may be 0
			all = append(all, ModelTotals{model, t.ModelPrompt[model], t.ModelCompletion[model], bytes})
		}
	}
	slices.SortFunc(all, func(a, b ModelTotals) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Model, b.Model))
	})
	return all[:min(len(all), maxShown)]
}

// keyTotals returns Status.Keys.
func keyTotals(t Totals) []KeyTotals {
	all := make([]KeyTotals, 0, len(t.KeyRequests))
	for key, requests := range t.KeyRequests {
		if requests > 0 { // "other" may be 0
			all = append(all, KeyTotals{key[0], key[1], requests, t.KeyTokens[key], t.KeyBytes[key]})
		}
	}
	slices.SortFunc(all, func(a, b KeyTotals) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
	})
	return all[:min(len(all), maxShown)]
}
