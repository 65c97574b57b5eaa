package upstream

import (
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// maxSlowStart is as much as a backend's being busy counts for.
const maxSlowStart = 8

// backend is one Ollama of a pool. The fields that choosing reads are atomic; the
// pool's lock guards the rest.
type backend struct {
	Name      string
	address   string // where its host has several
	number    int    // of the entry that it stands for, for the recorder
	id        uint16 // its own among all backends that the pool has had
	url       *url.URL
	transport http.RoundTripper

	weight       atomic.Int32
	up           atomic.Bool
	inFlight     atomic.Int32 // requests of this proxy's
	slowStart    atomic.Int32 // as many more are taken to be there: it has just come back, or is busy with others'
	loadedModels atomic.Int32 // models that it has loaded
	earlyResets  atomic.Int32 // answers in a row that broke off before their first byte
	failures     atomic.Int32 // times that it went down since it last served a request

	pool     *Pool
	probeNow chan struct{} // has it looked at now

	sharedProbe sharedProbe   // of requests that name it
	listMu      sync.Mutex    // held while a list of its models is taken in
	listedAt    atomic.Uint64 // when the last one of those was asked for, by the pool's clock

	probed     bool                  // it has been looked at
	hasList    bool                  // its models are known
	removed    bool                  // it is no backend any more
	placements map[string]*placement // by model
	stop       func()                // ends the looks
}

// placement is a model on a backend: requests for the model choose among its placements.
type placement struct {
	*backend
	loaded  atomic.Bool  // it is in the GPU's memory, or on its way there; changed with the pool's lock
	running atomic.Int32 // requests for it
	remote  atomic.Bool  // the backend has it run at ollama.com, whatever it is called
}

func newBackend(u Upstream, id uint16) *backend {
	b := &backend{
		Name: u.Name, address: u.address, id: id, url: u.URL, transport: u.transport(),
		probeNow: make(chan struct{}, 1), placements: map[string]*placement{},
	}
	b.weight.Store(int32(u.Weight))
	b.up.Store(true) // until it fails
	return b
}

// identity is what is the same of a backend and of the entry that it stays for.
func (b *backend) identity() string { return b.Name + "=" + b.url.String() + "@" + b.address }

func (u Upstream) identity() string { return u.Name + "=" + u.URL.String() + "@" + u.address }

// dismiss ends the looks. The pool's lock is held.
func (b *backend) retire() {
	b.removed = true
	if b.stop != nil {
		b.stop()
	}
	if t, ok := b.transport.(*transport.Transport); ok {
		t.Retire()
	}
}

// closeIdle closes its connections that no request uses.
func (b *backend) closeIdle() {
	if t, ok := b.transport.(*transport.Transport); ok {
		t.CloseIdleConnections()
	}
}

// load is how busy the backend would be with one request more, for each unit of
// its weight.
func (b *backend) utilization() float64 {
	return float64(b.inFlight.Load()+b.slowStart.Load()+1) / float64(b.weight.Load())
}

// probeSoon has the backend looked at, if that is not about to happen anyway.
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

// leave counts it out.
func (p *placement) leave() {
	p.running.Add(-1)
	p.inFlight.Add(-1)
}

// forget takes it that nothing is loaded any more. The pool's lock is held.
func (b *backend) clearLoaded() {
	for model, p := range b.placements {
		p.loaded.Store(model == "")
	}
	b.loadedModels.Store(0)
}

// isBusy notes that it said so.
func (b *backend) recordBusy() {
	if b.slowStart.Load() < maxSlowStart {
		b.slowStart.Add(1)
	}
}

// serves notes that the backend answers requests.
func (b *backend) recordSuccess() {
	if b.earlyResets.Load() != 0 {
		b.earlyResets.Store(0)
	}
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
}
