package upstream

import (
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// maxSlowStart is how many requests are added at most to a backend's load because it
// answers that it is busy.
const maxSlowStart = 8

// backend is one Ollama of a pool. The fields that a choice reads are atomic; the pool's
// lock guards the others.
type backend struct {
	Name      string
	address   string // host and port, if the URL's host has several; else ""
	number    int    // its entry's number at the recorder
	id        uint16 // unique among all backends that the pool has had
	url       *url.URL
	transport http.RoundTripper

	weight       atomic.Int32
	up           atomic.Bool
	inFlight     atomic.Int32 // requests of this proxy
	slowStart    atomic.Int32 // requests added to inFlight when comparing: the backend has just come up, or is busy for others
	loadedModels atomic.Int32 // models that it has loaded or is loading
	earlyResets  atomic.Int32 // responses in a row that broke off before their first byte
	failures     atomic.Int32 // times that it went down since it last answered a request

	pool     *Pool
	probeNow chan struct{} // makes probeLoop probe soon

	sharedProbe sharedProbe   // of requests that name this backend
	listMu      sync.Mutex    // held while a list of its models is stored
	listedAt    atomic.Uint64 // when the current list was asked for, by the pool's clock

	probed     bool                  // a probe has ended
	hasList    bool                  // a list of its models has been stored
	removed    bool                  // it is not in the pool any more
	placements map[string]*placement // by model; "" is a request without one
	stop       func()                // ends probeLoop; nil: it is not running
}

// placement is a model on a backend. A request for the model chooses among its
// placements.
type placement struct {
	*backend
	loaded  atomic.Bool  // in memory, or being loaded; written with the pool's lock
	running atomic.Int32 // requests for the model
	remote  atomic.Bool  // the model runs at ollama.com, whatever its name is
}

// newBackend returns a backend that counts as up until it fails.
func newBackend(u Upstream, id uint16) *backend {
	b := &backend{
		Name: u.Name, address: u.address, id: id, url: u.URL, transport: u.transport(),
		probeNow: make(chan struct{}, 1), placements: map[string]*placement{},
	}
	b.weight.Store(int32(u.Weight))
	b.up.Store(true) // until it fails
	return b
}

// identity is equal for a backend and the entry that it belongs to.
func (b *backend) identity() string { return b.Name + "=" + b.url.String() + "@" + b.address }

func (u Upstream) identity() string { return u.Name + "=" + u.URL.String() + "@" + u.address }

// retire ends the probes and has the connections closed once they are idle. The pool's
// lock is held.
func (b *backend) retire() {
	b.removed = true
	if b.stop != nil {
		b.stop()
	}
	if t, ok := b.transport.(*transport.Transport); ok {
		t.Retire()
	}
}

// closeIdle closes the connections that no request uses.
func (b *backend) closeIdle() {
	if t, ok := b.transport.(*transport.Transport); ok {
		t.CloseIdleConnections()
	}
}

// utilization returns how many requests the backend would have, with one more, per unit
// of its weight.
func (b *backend) utilization() float64 {
	return float64(b.inFlight.Load()+b.slowStart.Load()+1) / float64(b.weight.Load())
}

// probeSoon has the backend probed soon, unless that has been asked for.
func (b *backend) probeSoon() {
	select {
	case b.probeNow <- struct{}{}:
	default:
	}
}

// enter counts a request in.
func (p *placement) enter() {
	p.inFlight.Add(1)
	p.running.Add(1)
}

// leave counts a request out.
func (p *placement) leave() {
	p.running.Add(-1)
	p.inFlight.Add(-1)
}

// clearLoaded stores that no model is loaded. The pool's lock is held.
func (b *backend) clearLoaded() {
	for model, p := range b.placements {
		p.loaded.Store(model == "")
	}
	b.loadedModels.Store(0)
}

// recordBusy is called when the backend answers 503, and makes it less likely to be
// chosen.
func (b *backend) recordBusy() {
	if b.slowStart.Load() < maxSlowStart {
		b.slowStart.Add(1)
	}
}

// recordSuccess is called when the backend responds to a request. It writes only what
// changes, because it is called for each.
func (b *backend) recordSuccess() {
	if b.earlyResets.Load() != 0 {
		b.earlyResets.Store(0)
	}
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
}
