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

// Totals is what a Recorder has counted since the start, as it stands in
// metrics.Totals: see there.
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

// InForce says which keys hold; signer.Keyring does.
type InForce interface {
	Revocations() int
	RevocationsHash() uint64
	SecretFingerprint() uint64
}

// Status is what there is to see of a proxy at one moment. Everything in it is a
// number, a time, one of our own words, or a name: of a key, a model or an Ollama.
// Names are other people's text.
type Status struct {
	Version  string    `json:"version"`
	Now      time.Time `json:"now"`
	Started  time.Time `json:"started"`
	Draining bool      `json:"draining"`

	Requests int       `json:"requests"` // in flight
	Streams  int       `json:"streams"`  // of these, that stream
	Running  []Running `json:"running"`  // of these, the maxShown that have been running longest

	Hour Hour `json:"hour"`

	Models      []ModelTotals `json:"models"` // most bytes first
	Keys        []KeyTotals   `json:"keys"`   // most requests first, maxShown of them
	KeysCounted bool          `json:"keys_counted"`

	Upstreams []UpstreamStatus `json:"upstreams"`

	Revocations       int        `json:"revocations"`
	RevocationsHash   string     `json:"revocations_hash"`
	SecretFingerprint string     `json:"secret_fingerprint"`
	Reloads           []Reloaded `json:"reloads"`
	CertificateEnds   *time.Time `json:"certificate_ends,omitempty"` // nil: there is none
}

// Running is a request in flight.
type Running struct {
	Number uint64  `json:"number"` // its own since the start
	Key    string  `json:"key"`    // its label; empty: it has none
	ID     string  `json:"id"`     // the key's, which tells whose label it is; of a narrowed one also ~ and its own id
	Route  string  `json:"route"`
	Model  string  `json:"model"` // empty: not known
	State  string  `json:"state"` // see InFlight.State
	Age    float64 `json:"age"`   // seconds since it arrived
	Quiet  float64 `json:"quiet"` // seconds since anything moved
	Bytes  int64   `json:"bytes"` // of the answer that have passed

	// Rate is the bytes a second since the last look at it, or since it
	// arrived if there was none.
	Rate float64 `json:"rate"`
}

// ModelTotals is what went to a model, and came from it, since the start.
type ModelTotals struct {
	Model      string `json:"model"`
	Prompt     uint64 `json:"prompt_tokens"`
	Completion uint64 `json:"completion_tokens"`
	Bytes      uint64 `json:"bytes"`
}

// KeyTotals is what a key was used for since the start. A label may be the word of
// whoever holds the key; the id is not theirs to choose, up to a "~" and the id that a
// narrowed key has beside. Keys that are too many to
// be counted by themselves are "other", and so is their id.
type KeyTotals struct {
	Key      string `json:"key"` // its label; empty: it has none
	ID       string `json:"id"`
	Requests uint64 `json:"requests"`
	Tokens   uint64 `json:"tokens"`
	Bytes    uint64 `json:"bytes"`
}

// UpstreamStatus is what is known of an Ollama.
type UpstreamStatus struct {
	Name     string   `json:"name"`
	Up       bool     `json:"up"`        // it answered when last asked
	Weight   int      `json:"weight"`    // its share of the requests, beside the others'
	InFlight int      `json:"in_flight"` // requests of this proxy's
	Models   int      `json:"models"`    // that it has
	Loaded   []string `json:"loaded"`    // of these, in its memory or on their way there
}

// Reloaded is how the last reload of a source went.
type Reloaded struct {
	Source string    `json:"source"`
	OK     bool      `json:"ok"`
	At     time.Time `json:"at"` // of the last that went well; zero: none yet
}

const (
	// maxShown bounds how many requests and keys a Status lists: a page of
	// more is of no use to anybody.
	maxShown = 100

	// statusAge is the least time between two looks: however many look, it
	// costs the proxy the same.
	statusAge = 900 * time.Millisecond
)

// Watcher looks at a proxy for those who want to see it. While nobody does, it
// reads a few counters once a minute, so that there is a past to show, and
// nothing else.
type Watcher struct {
	WatcherOptions
	started time.Time

	mu     sync.Mutex
	past   history
	last   Status
	passed map[uint64]int64 // bytes at the last look, by number
}

// WatcherOptions say what a watcher looks at.
type WatcherOptions struct {
	Proxy   *handler.Proxy
	Totals  func() Totals
	InForce InForce
	Version string
	Hosts   []string // by which the page may be asked for, beside its address

	CertificateEnds func() time.Time // nil: there is none
}

func NewWatcher(o WatcherOptions) *Watcher {
	w := &Watcher{WatcherOptions: o, started: time.Now()}
	w.past.begin(markOf(o.Totals()))
	return w
}

// Look gives the status, which is not older than statusAge.
func (w *Watcher) Look() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	since := now.Sub(w.last.Now)
	if since < statusAge {
		return w.last
	}
	t := w.Totals()
	st := Status{
		Version:  w.Version,
		Now:      now,
		Started:  w.started,
		Draining: w.Proxy.Leaving(),
		Hour:     w.past.hour(markOf(t), t.FirstByteBounds),

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
	w.lookAtRunning(&st, since)
	w.last = st
	return st
}

// lookAtRunning fills in what is in flight. The set lists the newest first.
func (w *Watcher) lookAtRunning(st *Status, since time.Duration) {
	all := w.Proxy.InFlight()
	passed := make(map[uint64]int64, len(all))
	st.Requests = len(all)
	st.Running = make([]Running, 0, min(len(all), maxShown))
	for _, x := range slices.Backward(all) {
		state := x.State()
		if state == handler.StateStreaming {
			st.Streams++
		}
		bytes := x.Sent()
		passed[x.Number()] = bytes
		if len(st.Running) == maxShown {
			continue
		}
		age := st.Now.Sub(x.Arrived())
		before, seen := w.passed[x.Number()]
		over := age
		if seen {
			over = since
		}
		r := Running{
			Number: x.Number(), Key: x.Key().Label(), ID: x.Key().Name(), Route: x.Route(), Model: x.Model(), State: state,
			Age: age.Seconds(), Quiet: max(0, age-x.Moved()).Seconds(),
			Bytes: bytes, Rate: float64(bytes-before) / max(over, time.Millisecond).Seconds(),
		}
		st.Running = append(st.Running, r)
	}
	w.passed = passed
}

func upstreams(states []upstream.State) []UpstreamStatus {
	all := make([]UpstreamStatus, 0, len(states))
	for _, u := range states {
		all = append(all, UpstreamStatus{u.Name, u.Up, u.Weight, u.InFlight, len(u.Models), u.Loaded})
	}
	return all
}

func modelTotals(t Totals) []ModelTotals {
	all := make([]ModelTotals, 0, len(t.ModelBytes))
	for model, bytes := range t.ModelBytes {
		if bytes > 0 { // such as those for models that Ollama does not list
			all = append(all, ModelTotals{model, t.ModelPrompt[model], t.ModelCompletion[model], bytes})
		}
	}
	slices.SortFunc(all, func(a, b ModelTotals) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Model, b.Model))
	})
	return all[:min(len(all), maxShown)]
}

func keyTotals(t Totals) []KeyTotals {
	all := make([]KeyTotals, 0, len(t.KeyRequests))
	for key, requests := range t.KeyRequests {
		if requests > 0 { // such as those for keys that are too many
			all = append(all, KeyTotals{key[0], key[1], requests, t.KeyTokens[key], t.KeyBytes[key]})
		}
	}
	slices.SortFunc(all, func(a, b KeyTotals) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID))
	})
	return all[:min(len(all), maxShown)]
}
