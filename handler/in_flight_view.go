package handler

import (
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// InFlight describes a request in flight, for the status page. Model, LastActivity, Sent
// and State return values of the moment, also after the request has ended.
type InFlight struct {
	proxy *Proxy
	x     *exchange
}

// InFlight returns the requests in flight, the newest first.
func (p *Proxy) InFlight() []InFlight {
	all := p.running.all()
	list := make([]InFlight, len(all))
	for i, x := range all {
		list[i] = InFlight{p, x}
	}
	return list
}

// Number returns the number of the request: they are counted from 1 since the start, in
// the order in which they were admitted.
func (f InFlight) Number() uint64 { return f.x.number }

// Key returns the key of the request, which was valid when it arrived.
func (f InFlight) Key() *signer.Key { return &f.x.key }

// Route returns the name of the request's route.
func (f InFlight) Route() string { return api.NameOf(f.x.Route) }

// Model returns the model that the request names, in canonical spelling, or "" if it
// names none or has not been read so far.
func (f InFlight) Model() string {
	if model := f.x.Model.Load(); model != nil {
		return *model
	}
	return ""
}

// Arrived returns when the request arrived.
func (f InFlight) Arrived() time.Time { return f.x.arrived }

// LastActivity returns when data was last transferred, as the time since the request
// arrived.
func (f InFlight) LastActivity() time.Duration { return time.Duration(f.x.watchdog.last.Load()) }

// Sent returns how many bytes of the answer's body have been sent to the client.
func (f InFlight) Sent() int64 { return f.x.sent.Load() }

// The states of a request in flight.
const (
	StateArriving  = "arriving"  // its body is being read
	StateWaiting   = "waiting"   // Ollama's answer has not begun
	StateAnswering = "answering" // Ollama's answer, which is not a stream, is being relayed
	StateStreaming = "streaming" // Ollama's answer, a stream, is being relayed
	StateEnding    = "ending"    // it has been answered or refused, and is not over yet
)

// State returns the state of the request: one of the constants.
func (f InFlight) State() string {
	p := f.proxy
	switch f.x.watchdog.phase.Load() {
	case &p.uploading:
		return StateArriving
	case &p.waiting:
		return StateWaiting
	case &p.passing:
		return StateAnswering
	case &p.streaming:
		return StateStreaming
	}
	return StateEnding
}
