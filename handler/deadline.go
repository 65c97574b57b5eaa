package handler

import (
	"errors"
	"sync/atomic"
	"time"
)

var (
	errStalled     = errors.New("nothing moved")
	errNoFirstByte = errors.New("no first byte in time")
)

// phase is how long an exchange may wait, and what it ends of otherwise.
type phase struct {
	limit time.Duration
	cause error
}

// watchdog tells when too long nothing has happened in an exchange. What happens
// costs one store, and no timer: the running set looks at all of its exchanges
// now and then. The zero watchdog sleeps.
type watchdog struct {
	phase atomic.Pointer[phase]
	last  atomic.Int64 // nanoseconds since the exchange arrived
}

// saw notes that something happened at the given time since the exchange
// arrived.
func (d *watchdog) saw(at time.Duration) { d.last.Store(int64(at)) }

// enter begins a phase at the given time since the exchange arrived.
func (d *watchdog) enter(next *phase, at time.Duration) {
	d.saw(at)
	d.phase.Store(next)
}

// follow begins the phase next where the phase is still from: Ollama may
// answer before it has the whole of the body, and the body's end is then no
// news.
func (d *watchdog) follow(from, next *phase, at time.Duration) {
	if d.phase.CompareAndSwap(from, next) {
		d.saw(at)
	}
}

// overdue is what the exchange is to end of at the given time since it arrived;
// nil if it is to go on.
func (d *watchdog) overdue(at time.Duration) error {
	phase := d.phase.Load()
	if phase == nil || at-time.Duration(d.last.Load()) < phase.limit {
		return nil
	}
	return phase.cause
}

func (d *watchdog) sleep() { d.phase.Store(nil) }
