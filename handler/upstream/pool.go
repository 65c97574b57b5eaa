package upstream

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// Pool is the Ollamas behind the proxy, and what it knows of them. All of that
// is the proxy's own and soft: replicas do not talk, and what one forgets it
// learns again.
type Pool struct {
	Options
	Alone bool // it is one Ollama, and will not be more: there is nothing to choose
	only  int  // its number, for the recorder

	roster          atomic.Pointer[roster]
	Affinity        *affinity
	ConnLimit       transport.ConnLimit // for connections to its backends
	probe           sharedProbe         // of requests for a model that no list has
	clock           atomic.Uint64       // counts the times that a list is asked for, or is changed
	modelsChangedAt atomic.Uint64       // when a request last changed what there is

	resolveNow chan struct{} // has names looked up now

	mu           sync.Mutex              // held to change anything below, a roster, or whether an placement is loaded
	numbers      map[string]int          // of the entries, for the recorder
	entries      []Upstream              // as they were configured
	addresses    map[string][]netip.Addr // of the entries that are names for several
	lookupFailed map[string]bool         // entries whose name could not be looked up
	backends     []*backend              // in the order of their names
	lastID       uint16
	refreshing   refreshState
	watchCtx     context.Context // of those that look after the backends; nil before that
	probes       sync.WaitGroup
}

// roster is who there is, and who has what. It never changes, so that who
// chooses needs no lock.
type roster struct {
	backends []*backend
	any      []*placement // of no model, for requests that are about none
	listed   []*placement // the same, of those whose models are known: for models that none of them has
	models   map[string][]*placement
}

// Options say what a pool works with.
type Options struct {
	Recorder    Recorder
	Logger      *slog.Logger
	Resolver    *net.Resolver // nil: the system's
	AllowRemote bool          // models of ollama.com may pass
}

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

// Set has the pool consist of other Ollamas.
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

// number tells the recorder of entries that are new or gone. The lock is held.
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

// arrange has the backends be those that the entries stand for. Who stays keeps
// what is known of it; who leaves finishes its requests. The lock is held.
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

// join adds a backend. The lock is held.
func (pl *Pool) add(u Upstream) *backend {
	pl.lastID++
	b := newBackend(u, pl.lastID)
	b.pool = pl
	if t, ok := b.transport.(*transport.Transport); ok && !pl.Alone {
		t.ConnLimit = &pl.ConnLimit
	}
	b.number = pl.numbers[u.entry()]
	b.placements[""] = &placement{backend: b}
	b.placements[""].loaded.Store(true) // nothing has to be
	pl.backends = append(pl.backends, b)
	slices.SortFunc(pl.backends, func(a, b *backend) int { return strings.Compare(a.Name, b.Name) })
	pl.startProbing(b)
	return b
}

// closeIdle closes the connections that no request uses.
func (pl *Pool) closeIdle() {
	for _, b := range pl.roster.Load().backends {
		b.closeIdle()
	}
}

// index publishes who has what. The lock is held.
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

// take takes in what a backend has installed and loaded. A model that requests
// run on is taken to be loaded though it may not be listed yet.
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
			is = p.loaded.Load() // it does not say
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

// pick chooses a backend for a request and counts the request in. The model is
// the request's; "" stands for none. A model that nobody has goes to anyone, so
// that the client hears so from Ollama.
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

// pickCold does so where a model has to be loaded: one request after the other,
// lest those that come together load it on as many backends.
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

func (r *roster) placements(model string) []*placement {
	if placements, ok := r.models[model]; ok {
		return placements
	}
	if model != "" {
		return r.listed
	}
	return r.any
}

// Knows reports whether any backend lists the model.
func (pl *Pool) Knows(model string) bool {
	_, ok := pl.roster.Load().models[model]
	return ok
}

// IsRemote reports whether any backend is known to have the model run at ollama.com.
func (pl *Pool) IsRemote(model string) bool {
	return slices.ContainsFunc(pl.roster.Load().models[model], func(p *placement) bool { return p.remote.Load() })
}

// NumberOf is the recorder's number of the Ollama that the request is at, if it is
// at any.
func (pl *Pool) NumberOf(x *Request) (int, bool) {
	switch {
	case x.At != nil:
		return x.At.number, true
	case pl.Alone:
		return pl.only, true
	}
	return 0, false
}

// State is what the proxy knows of one Ollama.
type State struct {
	Name     string
	Up       bool     // it answered when last asked
	Weight   int      // its share of the requests, beside the others'
	InFlight int      // requests of this proxy's that it has
	Models   []string // that it has, in their canonical spelling, in order
	Loaded   []string // of these, that are in its memory or on their way there
}

// States tells what is known of each Ollama, in the order of their names. What one
// alone has in flight it does not know.
func (pl *Pool) States() []State {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	all := make([]State, 0, len(pl.backends))
	for _, b := range pl.backends {
		s := State{Name: b.Name, Up: b.probed && b.up.Load(), Weight: int(b.weight.Load()), InFlight: int(b.inFlight.Load())}
		for _, model := range slices.Sorted(maps.Keys(b.placements)) {
			if model == "" {
				continue
			}
			s.Models = append(s.Models, model)
			if b.placements[model].loaded.Load() {
				s.Loaded = append(s.Loaded, model)
			}
		}
		all = append(all, s)
	}
	return all
}
