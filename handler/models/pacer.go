package models

import (
	"io"
	"time"
)

const (
	// stretch is how long work goes on without a rest: half a millisecond.
	stretch = 500 * time.Microsecond

	// maxRest bounds a rest, 10 ms: a process that was stopped for an hour has
	// not worked for an hour, and others may wait for what the work holds.
	maxRest = 10 * time.Millisecond
)

// Pacer is work on one request that takes a processor for long: where a few KiB
// become many MiB, or many have to be searched. It rests for as long as it has
// worked, so that it takes no processor from the others for longer than a
// stretch, and never more than half of one.
type Pacer struct{ since time.Time }

func NewPacer() Pacer { return Pacer{time.Now()} }

// Pause is called every now and then during the work. Short work has none.
func (e *Pacer) Pause() {
	if worked := time.Since(e.since); worked > stretch {
		time.Sleep(min(worked, maxRest))
		e.since = time.Now()
	}
}

// restful rests while somebody reads.
type PacedReader struct {
	io.Reader
	Pacer
}

// NewRestful reads from r, and rests meanwhile.
func NewRestful(r io.Reader) *PacedReader { return &PacedReader{r, NewPacer()} }

func (r *PacedReader) Read(b []byte) (int, error) {
	r.Pause()
	return r.Reader.Read(b)
}
