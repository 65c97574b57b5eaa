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

	roster   atomic.Pointer[roster]
	Affinity *affinity
	ConnLimit    transport.ConnLimit // for connections to its backends
	probe    sharedProbe         // of requests for a model that no list has
	clock    atomic.Uint64       // counts the times that a list is asked for, or is changed
	altered  atomic.Uint64       // when a request last changed what there is

	renamed chan struct{} // has names looked up now

	mu        sync.Mutex              // held to change anything below, a roster, or whether an placement is loaded
	numbers   map[string]int          // of the entries, for the recorder
	entries   []Upstream              // as they were configured
	addresses map[string][]netip.Addr // of the entries that are names for several
	lost      map[string]bool         // entries whose name could not be looked up
	members   []*backend              // in the order of their names
	lastID    uint16
	miss      miss
	looking   context.Context // of those that look after the backends; nil before that
	looks     sync.WaitGroup
}

// roster is who there is, and who has what. It never changes, so that who
// chooses needs no lock.
type roster struct {
	members []*backend
	any     []*placement // of no model, for requests that are about none
	listed  []*placement // the same, of those whose models are known: for models that none of them has
	models  map[string][]*placement
}

// Options say what a pool works with.
type Options struct {
	Recorder Recorder
	Logger   *slog.Logger
	Resolver *net.Resolver // nil: the system's
	Open     bool          // models of ollama.com may pass
}

func New(o Options, upstreams []Upstream, alone bool) *Pool {
	pl := &Pool{
		Options: o, Alone: alone, renamed: make(chan struct{}, 1),
		numbers: map[string]int{}, addresses: map[string][]netip.Addr{}, lost: map[string]bool{},
	}
	if !alone {
		pl.Affinity = newAffinity()
	}
	pl.ConnLimit.Timeout, pl.ConnLimit.CloseIdle = transport.ConnLimitTimeout, pl.closeIdle
	pl.roster.Store(&roster{})
	pl.Set(upstreams)
	if alone {
		pl.only = pl.members[0].number
	}
	return pl
}

// Set has the pool consist of other Ollamas.
func (pl *Pool) Set(entries []Upstream) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	pl.entries = entries
	pl.number()
	for name := range pl.addresses {
		if !slices.ContainsFunc(entries, func(e Upstream) bool { return e.Discover && e.Name == name }) {
			delete(pl.addresses, name)
			delete(pl.lost, name)
		}
	}
	pl.arrange()
	select {
	case pl.renamed <- struct{}{}:
	default:
	}
}

// number tells the recorder of entries that are new or gone. The lock is held.
func (pl *Pool) number() {
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
func (pl *Pool) arrange() {
	var stay, leave []*backend
	var join []Upstream
	gone := map[string]*backend{}
	for _, m := range pl.members {
		gone[m.identity()] = m
	}
	for _, e := range pl.entries {
		for _, u := range pl.expand(e) {
			if m := gone[u.identity()]; m != nil {
				m.weight.Store(int32(u.Weight))
				stay = append(stay, m)
				delete(gone, u.identity())
			} else {
				join = append(join, u)
			}
		}
	}
	for _, m := range gone {
		leave = append(leave, m)
	}
	if len(join) == 0 && len(leave) == 0 {
		return
	}
	pl.members = stay
	for _, u := range join {
		pl.join(u)
	}
	pl.index()
	for _, m := range leave {
		m.dismiss()
	}
}

// join adds a backend. The lock is held.
func (pl *Pool) join(u Upstream) *backend {
	pl.lastID++
	m := newBackend(u, pl.lastID)
	m.pool = pl
	if t, ok := m.transport.(*transport.Transport); ok && !pl.Alone {
		t.ConnLimit = &pl.ConnLimit
	}
	m.number = pl.numbers[u.entry()]
	m.offers[""] = &placement{backend: m}
	m.offers[""].loaded.Store(true) // nothing has to be
	pl.members = append(pl.members, m)
	slices.SortFunc(pl.members, func(a, b *backend) int { return strings.Compare(a.Name, b.Name) })
	pl.lookAfter(m)
	return m
}

// closeIdle closes the connections that no request uses.
func (pl *Pool) closeIdle() {
	for _, m := range pl.roster.Load().members {
		m.closeIdle()
	}
}

// index publishes who has what. The lock is held.
func (pl *Pool) index() {
	r := &roster{members: slices.Clone(pl.members), models: map[string][]*placement{}}
	for _, m := range pl.members {
		r.any = append(r.any, m.offers[""])
		if m.listed || pl.Open {
			r.listed = append(r.listed, m.offers[""])
		}
		for model, o := range m.offers {
			if model != "" {
				r.models[model] = append(r.models[model], o)
			}
		}
	}
	pl.roster.Store(r)
}

// take takes in what a backend has installed and loaded. A model that requests
// run on is taken to be loaded though it may not be listed yet.
func (pl *Pool) take(m *backend, installed, loaded listing) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	changed := !m.listed
	m.listed = true
	for model := range m.offers {
		if _, ok := installed[model]; model != "" && !ok {
			delete(m.offers, model)
			changed = true
		}
	}
	crowd := int32(0)
	for model, remote := range installed {
		o := m.offers[model]
		if o == nil {
			o = &placement{backend: m}
			m.offers[model] = o
			changed = true
		}
		o.remote.Store(remote)
		_, is := loaded[model]
		if loaded == nil {
			is = o.loaded.Load() // it does not say
		}
		if is || o.running.Load() > 0 {
			o.loaded.Store(true)
			crowd++
		} else {
			o.loaded.Store(false)
		}
	}
	m.loadedModels.Store(crowd)
	m.seen = true
	if changed {
		pl.index()
	}
}

// pick chooses a backend for a request and counts the request in. The model is
// the request's; "" stands for none. A model that nobody has goes to anyone, so
// that the client hears so from Ollama.
func (pl *Pool) pick(model string, w *selection) (*placement, reason) {
	w.tieBreak = rand.Uint32()
	offers := pl.roster.Load().offers(model)
	o, why := choose(offers, w)
	switch why {
	case nobody:
		return nil, nobody
	case byLeastLoad:
		return pl.pickCold(model, w)
	}
	o.enter()
	return o, why
}

// pickCold does so where a model has to be loaded: one request after the other,
// lest those that come together load it on as many backends.
func (pl *Pool) pickCold(model string, w *selection) (*placement, reason) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	o, why := choose(pl.roster.Load().offers(model), w)
	if why == nobody {
		return nil, nobody
	}
	if !o.loaded.Load() {
		o.loaded.Store(true)
		o.loadedModels.Add(1)
	}
	o.enter()
	return o, why
}

func (r *roster) offers(model string) []*placement {
	if offers, ok := r.models[model]; ok {
		return offers
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
	return slices.ContainsFunc(pl.roster.Load().models[model], func(o *placement) bool { return o.remote.Load() })
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
	all := make([]State, 0, len(pl.members))
	for _, m := range pl.members {
		s := State{Name: m.Name, Up: m.seen && m.up.Load(), Weight: int(m.weight.Load()), InFlight: int(m.inFlight.Load())}
		for _, model := range slices.Sorted(maps.Keys(m.offers)) {
			if model == "" {
				continue
			}
			s.Models = append(s.Models, model)
			if m.offers[model].loaded.Load() {
				s.Loaded = append(s.Loaded, model)
			}
		}
		all = append(all, s)
	}
	return all
}
