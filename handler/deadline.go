package handler

import (
	"errors"
	"sync/atomic"
	"time"
)

var (
	errStalled     = errors.New("no data was transferred in time")
	errNoFirstByte = errors.New("no first byte in time")
)

// phase is a part of an exchange in which at most the limit may pass between two signs of
// progress. If more passes, the exchange is cut for the cause.
type phase struct {
	limit time.Duration
	cause error
}

// watchdog detects that an exchange has made no progress for too long. It has no timer,
// so that progress costs a single store: the running set checks the watchdogs of all
// exchanges at intervals. The zero watchdog is stopped.
type watchdog struct {
	phase atomic.Pointer[phase]
	last  atomic.Int64 // nanoseconds since the exchange arrived
}

// touch records progress, at the given time since the exchange arrived.
func (d *watchdog) touch(at time.Duration) { d.last.Store(int64(at)) }

// enter begins a phase at the given time since the exchange arrived.
func (d *watchdog) enter(next *phase, at time.Duration) {
	d.touch(at)
	d.phase.Store(next)
}

// advance begins the phase next, if the phase is still from. If Ollama answers before it
// has read the whole body, a later phase has begun when the body ends.
func (d *watchdog) advance(from, next *phase, at time.Duration) {
	if d.phase.CompareAndSwap(from, next) {
		d.touch(at)
	}
}

// overdue returns the cause for which to cut the exchange at the given time since it
// arrived, or nil if it may go on.
func (d *watchdog) overdue(at time.Duration) error {
	phase := d.phase.Load()
	if phase == nil || at-time.Duration(d.last.Load()) < phase.limit {
		return nil
	}
	return phase.cause
}

// stop ends all checks, until enter.
func (d *watchdog) stop() { d.phase.Store(nil) }
