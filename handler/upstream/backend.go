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

	pool *Pool
	wake chan struct{} // has it looked at now

	sharedProbe sharedProbe   // of requests that name it
	taking      sync.Mutex    // held while a list of its models is taken in
	taken       atomic.Uint64 // when the last one of those was asked for, by the pool's clock

	seen   bool                  // it has been looked at
	listed bool                  // its models are known
	left   bool                  // it is no backend any more
	offers map[string]*placement // by model
	stop   func()                // ends the looks
}

// placement is a model on a backend: requests for the model choose among its placements.
type placement struct {
	*backend
	loaded  atomic.Bool  // it is in the GPU's memory, or on its way there; changed with the pool's lock
	running atomic.Int32 // requests for it
	remote  atomic.Bool  // the backend has it run at ollama.com, whatever it is called
}

func newBackend(u Upstream, id uint16) *backend {
	m := &backend{
		Name: u.Name, address: u.address, id: id, url: u.URL, transport: u.transport(),
		wake: make(chan struct{}, 1), offers: map[string]*placement{},
	}
	m.weight.Store(int32(u.Weight))
	m.up.Store(true) // until it fails
	return m
}

// identity is what is the same of a backend and of the entry that it stays for.
func (m *backend) identity() string { return m.Name + "=" + m.url.String() + "@" + m.address }

func (u Upstream) identity() string { return u.Name + "=" + u.URL.String() + "@" + u.address }

// dismiss ends the looks. The pool's lock is held.
func (m *backend) dismiss() {
	m.left = true
	if m.stop != nil {
		m.stop()
	}
	if t, ok := m.transport.(*transport.Transport); ok {
		t.Retire()
	}
}

// closeIdle closes its connections that no request uses.
func (m *backend) closeIdle() {
	if t, ok := m.transport.(*transport.Transport); ok {
		t.CloseIdleConnections()
	}
}

// load is how busy the backend would be with one request more, for each unit of
// its weight.
func (m *backend) load() float64 {
	return float64(m.inFlight.Load()+m.slowStart.Load()+1) / float64(m.weight.Load())
}

// probeSoon has the backend looked at, if that is not about to happen anyway.
func (m *backend) probeSoon() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// enter counts a request in.
func (o *placement) enter() {
	o.inFlight.Add(1)
	o.running.Add(1)
}

// leave counts it out.
func (o *placement) leave() {
	o.running.Add(-1)
	o.inFlight.Add(-1)
}

// forget takes it that nothing is loaded any more. The pool's lock is held.
func (m *backend) forget() {
	for model, o := range m.offers {
		o.loaded.Store(model == "")
	}
	m.loadedModels.Store(0)
}

// isBusy notes that it said so.
func (m *backend) isBusy() {
	if m.slowStart.Load() < maxSlowStart {
		m.slowStart.Add(1)
	}
}

// serves notes that the backend answers requests.
func (m *backend) serves() {
	if m.earlyResets.Load() != 0 {
		m.earlyResets.Store(0)
	}
	if m.failures.Load() != 0 {
		m.failures.Store(0)
	}
}
