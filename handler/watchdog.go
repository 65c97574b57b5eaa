package handler

import (
	"errors"
	"sync/atomic"
	"time"
)

var (
	errStalled     = errors.New("nothing moved")
	errNoFirstByte = errors.New("no answer")
)

// phase is how long an exchange may wait, and what it ends of otherwise.
type phase struct {
	limit time.Duration
	cause error
}

// watchdog ends an exchange in which nothing has happened for too long. What
// happens costs one store; a timer looks now and then, not once per chunk.
type watchdog struct {
	over  *exchange
	timer *time.Timer
	phase atomic.Pointer[phase]
	last  atomic.Int64 // nanoseconds since the exchange arrived
}

func (d *watchdog) start(over *exchange, first *phase) {
	d.over = over
	d.phase.Store(first)
	d.timer = time.AfterFunc(first.limit, d.look)
}

// saw notes that something happened at the given time since the exchange
// arrived.
func (d *watchdog) saw(at time.Duration) { d.last.Store(int64(at)) }

// enter begins another phase.
func (d *watchdog) enter(next *phase) {
	d.phase.Store(next)
	d.saw(time.Since(d.over.arrived))
	d.timer.Reset(next.limit)
}

// follow begins the phase next, at the given time since the exchange arrived,
// where the phase is still from: Ollama may answer before it has the whole of
// the body, and the body's end is then no news.
func (d *watchdog) follow(from, next *phase, at time.Duration) {
	if d.phase.CompareAndSwap(from, next) {
		d.saw(at)
		d.timer.Reset(next.limit)
	}
}

func (d *watchdog) look() {
	phase := d.phase.Load()
	idle := time.Since(d.over.arrived) - time.Duration(d.last.Load())
	if idle >= phase.limit {
		d.over.end(phase.cause)
		return
	}
	d.timer.Reset(phase.limit - idle)
}

func (d *watchdog) stop() { d.timer.Stop() }
