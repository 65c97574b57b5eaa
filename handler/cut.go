package handler

import (
	"errors"

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// CutRevoked ends what runs under keys that are genuine no longer. A key that
// has expired meanwhile may finish: it was good when it was asked.
func (p *Proxy) CutRevoked() {
	p.cuts.Add(1) // before it looks: see admit
	for _, x := range p.running.all() {
		_, err := p.Keys.Verify(x.keyText, x.arrived)
		if errors.Is(err, signer.ErrRevoked) || errors.Is(err, signer.ErrBadSignature) {
			x.end(errRevoked)
		}
	}
}

// Leave tells clients to send their next request elsewhere: each answer from here
// on is the last on its connection.
func (p *Proxy) Leave() { p.running.leaving.Store(true) }

// Leaving reports whether Leave has been called.
func (p *Proxy) Leaving() bool { return p.running.leaving.Load() }

// Drain lets no more requests in: they get 503. It returns a channel that is closed
// once none is in flight.
func (p *Proxy) Drain() <-chan struct{} { return p.running.drain() }

// CutAll ends every request in flight, as one that a shutdown does not wait for.
// Each client is told so if that is still possible within cutGrace.
func (p *Proxy) CutAll() { p.running.cut(errShutdown) }

// LimitInFlight bounds how many requests may be in flight at once, and how many
// connections there may be to several Ollamas together. 0 is no bound. It is called
// before the first request.
func (p *Proxy) LimitInFlight(requests, connections int) {
	p.running.max = requests
	if connections > 0 {
		p.pool.ConnLimit.SetMax(connections)
	}
}

// InFlightLimit is how many requests may be in flight at once; 0: no bound.
func (p *Proxy) InFlightLimit() int { return p.running.max }

// BodyMemory is how many bytes bodies take now beyond what is ordinary.
func (p *Proxy) BodyMemory() int64 { return p.bodies.Used.Load() }

// IdleConnections is how many connections to Ollamas there may be that no request
// uses, while requests use as many as there may be of those to one Ollama.
func (p *Proxy) IdleConnections() int { return transport.MaxIdle * (len(p.Upstreams) - 1) }
