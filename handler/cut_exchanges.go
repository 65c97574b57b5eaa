package handler

import (
	"errors"

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// CutRevoked cuts the requests in flight whose keys have been revoked, or were signed
// with a secret that is no longer in use. A request whose key has expired meanwhile may
// finish.
func (p *Proxy) CutRevoked() {
	p.cuts.Add(1) // before the list is read: see admit
	for _, x := range p.running.all() {
		_, err := p.Keys.Verify(x.keyText, x.arrived)
		if errors.Is(err, signer.ErrRevoked) || errors.Is(err, signer.ErrBadSignature) {
			x.cut(errRevoked)
		}
	}
}

// Leave closes each connection after its next answer from now on, so that clients send
// their next request to another replica. Requests are still served.
func (p *Proxy) Leave() { p.running.leaving.Store(true) }

// Leaving reports whether Leave has been called.
func (p *Proxy) Leaving() bool { return p.running.leaving.Load() }

// Drain refuses all new requests with 503 from now on. It returns a channel that is
// closed once no request is in flight.
func (p *Proxy) Drain() <-chan struct{} { return p.running.drain() }

// CutAll cuts every request in flight: the grace of a shutdown is over. Each client gets
// an error that says so, if it reads it within [downstream.CutGrace].
func (p *Proxy) CutAll() { p.running.cut(errShutdown) }

// LimitInFlight limits how many requests may be in flight at once, and, where there are
// several Ollamas, how many connections to all of them. 0 means no limit. It must be
// called before the first request.
func (p *Proxy) LimitInFlight(requests, connections int) {
	p.running.max = requests
	if connections > 0 {
		p.pool.ConnLimit.SetMax(connections)
	}
}

// InFlightLimit returns how many requests may be in flight at once, or 0: no limit.
func (p *Proxy) InFlightLimit() int { return p.running.max }

// BodyMemory returns how many bytes of Options.MaxBodyMemory are in use.
func (p *Proxy) BodyMemory() int64 { return p.bodies.Used.Load() }

// IdleConnections returns how many idle connections to Ollamas there can be besides one
// connection for each request in flight: those to all Ollamas but one.
func (p *Proxy) IdleConnections() int { return transport.MaxIdle * (len(p.Upstreams) - 1) }
