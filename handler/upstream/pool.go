package upstream

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// Pool is the Ollamas behind the proxy, and what the proxy knows about them. It is safe
// for concurrent use.
type Pool struct {
	Options
	Alone bool // there is one Ollama, and will never be more: nothing to choose
	only  int  // the number of that one at the recorder

	roster          atomic.Pointer[roster]
	Affinity        *affinity           // nil if Alone
	ConnLimit       transport.ConnLimit // bounds the connections to all backends
	probe           sharedProbe         // of requests for a model that is in no list
	clock           atomic.Uint64       // increases when a list is asked for, or models change
	modelsChangedAt atomic.Uint64       // when a request last changed models

	resolveNow chan struct{} // makes discover resolve names at once

	mu           sync.Mutex              // held to change anything below, the roster, or whether a placement is loaded
	numbers      map[string]int          // of the entries at the recorder, by name
	entries      []Upstream              // as configured
	addresses    map[string][]netip.Addr // of the entries with Discover, by name
	lookupFailed map[string]bool         // entries whose name could not be resolved the last time
	backends     []*backend              // sorted by name
	lastID       uint16
	refreshing   refreshState
	watchCtx     context.Context // of Watch; nil: it is not running
	probes       sync.WaitGroup  // the goroutines of Watch
}

// roster says which backends there are, and which models they have. It is immutable, so
// that a choice needs no lock.
type roster struct {
	backends []*backend
	any      []*placement            // for requests without a model
	listed   []*placement            // the same, without backends whose models are not known: for a model that none of them has
	models   map[string][]*placement // by canonical name
}

// Options configure a pool.
type Options struct {
	Recorder    Recorder      // is told what happens
	Logger      *slog.Logger  // logs backends that go up and down
	Resolver    *net.Resolver // nil: the system's
	AllowRemote bool          // models that run at ollama.com are allowed
}

// New returns a pool of the given Ollamas, at least one. alone means that there is
// exactly one, and that Set is never called. Nothing is probed before [Pool.Watch] is
// called.
func New(o Options, upstreams []Upstream, alone bool) *Pool {
	pl := &Pool{
		Options: o, Alone: alone, resolveNow: make(chan struct{}, 1),
		numbers: map[string]int{}, addresses: map[string][]netip.Addr{}, lookupFailed: map[string]bool{},
	}
	if !alone {
		pl.Affinity = newAffinity()
	}
	pl.ConnLimit.Timeout, pl.ConnLimit.CloseIdle = transport.ConnLimitTimeout, pl.closeIdle
	pl.roster.Store(&roster{})
	pl.Set(upstreams)
	if alone {
		pl.only = pl.backends[0].number
	}
	return pl
}

// Set replaces the entries. A backend that is in both keeps its state; one that is
// removed finishes its requests.
func (pl *Pool) Set(entries []Upstream) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.entries = entries
	pl.updateRecorder()
	for name := range pl.addresses {
		if !slices.ContainsFunc(entries, func(e Upstream) bool { return e.Discover && e.Name == name }) {
			delete(pl.addresses, name)
			delete(pl.lookupFailed, name)
		}
	}
	pl.reconcile()
	select {
	case pl.resolveNow <- struct{}{}:
	default:
	}
}

// updateRecorder tells the recorder which entries are new, and which are gone. The lock
// is held.
func (pl *Pool) updateRecorder() {
	for name, number := range pl.numbers {
		if !slices.ContainsFunc(pl.entries, func(e Upstream) bool { return e.Name == name }) {
			delete(pl.numbers, name)
			pl.Recorder.UpstreamLeft(number)
		}
	}
	for _, e := range pl.entries {
		if _, ok := pl.numbers[e.Name]; !ok {
			pl.numbers[e.Name] = pl.Recorder.UpstreamJoined(e.Name)
		}
	}
}

// reconcile makes the backends those that the entries stand for. Those that stay keep
// their state; those that are removed finish their requests. The lock is held.
func (pl *Pool) reconcile() {
	var stay, leave []*backend
	var join []Upstream
	gone := map[string]*backend{}
	for _, b := range pl.backends {
		gone[b.identity()] = b
	}
	for _, e := range pl.entries {
		for _, u := range pl.expand(e) {
			if b := gone[u.identity()]; b != nil {
				b.weight.Store(int32(u.Weight))
				stay = append(stay, b)
				delete(gone, u.identity())
			} else {
				join = append(join, u)
			}
		}
	}
	for _, b := range gone {
		leave = append(leave, b)
	}
	if len(join) == 0 && len(leave) == 0 {
		return
	}
	pl.backends = stay
	for _, u := range join {
		pl.add(u)
	}
	pl.index()
	for _, b := range leave {
		b.retire()
	}
}

// add adds a backend. The lock is held.
func (pl *Pool) add(u Upstream) *backend {
	pl.lastID++
	b := newBackend(u, pl.lastID)
	b.pool = pl
	if t, ok := b.transport.(*transport.Transport); ok && !pl.Alone {
		t.ConnLimit = &pl.ConnLimit
	}
	b.number = pl.numbers[u.entry()]
	b.placements[""] = &placement{backend: b}
	b.placements[""].loaded.Store(true) // there is no model to load
	pl.backends = append(pl.backends, b)
	slices.SortFunc(pl.backends, func(a, b *backend) int { return strings.Compare(a.Name, b.Name) })
	pl.startProbing(b)
	return b
}

// closeIdle closes all connections that no request uses.
func (pl *Pool) closeIdle() {
	for _, b := range pl.roster.Load().backends {
		b.closeIdle()
	}
}

// index publishes a new roster. The lock is held.
func (pl *Pool) index() {
	r := &roster{backends: slices.Clone(pl.backends), models: map[string][]*placement{}}
	for _, b := range pl.backends {
		r.any = append(r.any, b.placements[""])
		if b.hasList || pl.AllowRemote {
			r.listed = append(r.listed, b.placements[""])
		}
		for model, p := range b.placements {
			if model != "" {
				r.models[model] = append(r.models[model], p)
			}
		}
	}
	pl.roster.Store(r)
}

// setList stores which models a backend has and which are loaded. A model with requests
// running counts as loaded, even if the backend does not list it as such yet.
func (pl *Pool) setList(b *backend, installed, loaded listing) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	changed := !b.hasList
	b.hasList = true
	for model := range b.placements {
		if _, ok := installed[model]; model != "" && !ok {
			delete(b.placements, model)
			changed = true
		}
	}
	loadedModels := int32(0)
	for model, remote := range installed {
		p := b.placements[model]
		if p == nil {
			p = &placement{backend: b}
			b.placements[model] = p
			changed = true
		}
		p.remote.Store(remote)
		_, is := loaded[model]
		if loaded == nil {
			is = p.loaded.Load() // not reported
		}
		if is || p.running.Load() > 0 {
			p.loaded.Store(true)
			loadedModels++
		} else {
			p.loaded.Store(false)
		}
	}
	b.loadedModels.Store(loadedModels)
	b.probed = true
	if changed {
		pl.index()
	}
}

// pick chooses a backend for a request and counts the request in. If no backend has the
// model, any may be chosen, so that the client gets Ollama's own error; "" stands for a
// request without a model.
func (pl *Pool) pick(model string, s *selection) (*placement, reason) {
	s.tieBreak = rand.Uint32()
	placements := pl.roster.Load().placements(model)
	p, why := choose(placements, s)
	switch why {
	case noBackend:
		return nil, noBackend
	case byLeastLoad:
		return pl.pickCold(model, s)
	}
	p.enter()
	return p, why
}

// pickCold chooses a backend for a model that must be loaded. It does so with the lock
// held, because requests that arrive at the same time would otherwise load the model on
// as many backends.
func (pl *Pool) pickCold(model string, s *selection) (*placement, reason) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	p, why := choose(pl.roster.Load().placements(model), s)
	if why == noBackend {
		return nil, noBackend
	}
	if !p.loaded.Load() {
		p.loaded.Store(true)
		p.loadedModels.Add(1)
	}
	p.enter()
	return p, why
}

// placements returns what a request for the model may choose from.
func (r *roster) placements(model string) []*placement {
	if placements, ok := r.models[model]; ok {
		return placements
	}
	if model != "" {
		return r.listed
	}
	return r.any
}

// Knows reports whether any backend lists the model, by its canonical name.
func (pl *Pool) Knows(model string) bool {
	_, ok := pl.roster.Load().models[model]
	return ok
}

// IsRemote reports whether any backend lists the model as one that runs at ollama.com.
func (pl *Pool) IsRemote(model string) bool {
	return slices.ContainsFunc(pl.roster.Load().models[model], func(p *placement) bool { return p.remote.Load() })
}

// NumberOf returns the recorder's number for the Ollama that has the request, and false
// if there is none.
func (pl *Pool) NumberOf(x *Request) (int, bool) {
	switch {
	case x.At != nil:
		return x.At.number, true
	case pl.Alone:
		return pl.only, true
	}
	return 0, false
}
