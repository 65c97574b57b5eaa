package handler

import (
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// InFlight is a request in flight, for those who look. What it gives is of the
// moment; some of it changes while one looks.
type InFlight struct {
	proxy *Proxy
	x     *exchange
}

// InFlight lists the requests in flight, the newest first.
func (p *Proxy) InFlight() []InFlight {
	all := p.running.all()
	list := make([]InFlight, len(all))
	for i, x := range all {
		list[i] = InFlight{p, x}
	}
	return list
}

// Number is the request's own since the start, in the order in which they came.
func (f InFlight) Number() uint64 { return f.x.number }

// Key is its key, which was valid when it came.
func (f InFlight) Key() *signer.Key { return &f.x.key }

// Route is the name of its route.
func (f InFlight) Route() string { return api.NameOf(f.x.Route) }

// Model is what it is about, in canonical spelling; empty: that is not known.
func (f InFlight) Model() string {
	if model := f.x.Model.Load(); model != nil {
		return *model
	}
	return ""
}

// Arrived is when it came.
func (f InFlight) Arrived() time.Time { return f.x.arrived }

// Moved is when something moved last, since it came.
func (f InFlight) Moved() time.Duration { return time.Duration(f.x.dog.last.Load()) }

// Sent is how many bytes of the answer have been passed on.
func (f InFlight) Sent() int64 { return f.x.sent.Load() }

// What a request in flight is doing.
const (
	StateArriving  = "arriving"  // its body is being read
	StateWaiting   = "waiting"   // for Ollama's answer to begin
	StateAnswering = "answering" // in one piece
	StateStreaming = "streaming"
	StateEnding    = "ending"
)

// State is one of those constants.
func (f InFlight) State() string {
	p := f.proxy
	switch f.x.dog.phase.Load() {
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
