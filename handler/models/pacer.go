package models

import (
	"io"
	"time"
)

const (
	// maxWork is how long work goes on without a pause: 0.5 ms.
	maxWork = 500 * time.Microsecond

	// maxPause bounds a pause: 10 ms. After a process was stopped for an hour, the clock
	// says that it worked for an hour; and others may wait for what the work holds.
	maxPause = 10 * time.Millisecond
)

// Pacer keeps long work on one request from taking a processor away from the others,
// such as decompressing a few KiB to many MiB, or searching those. The work pauses for
// as long as it has worked, so that it uses at most half of a processor, and at most 0.5
// ms at a time if Pause is called often enough. It is for one goroutine.
type Pacer struct{ since time.Time }

// NewPacer returns a Pacer for work that begins now.
func NewPacer() Pacer { return Pacer{time.Now()} }

// Pause sleeps if the work has gone on for more than 0.5 ms since the last pause: as
// long as that, but 10 ms at most. Call it every now and then during the work.
func (p *Pacer) Pause() {
	if worked := time.Since(p.since); worked > maxWork {
		time.Sleep(min(worked, maxPause))
		p.since = time.Now()
	}
}

// PacedReader reads from a Reader, and pauses before each Read if it is time to.
type PacedReader struct {
	io.Reader
	Pacer
}

// NewPacedReader returns a PacedReader that reads from r.
func NewPacedReader(r io.Reader) *PacedReader { return &PacedReader{r, NewPacer()} }

// Read implements io.Reader.
func (r *PacedReader) Read(b []byte) (int, error) {
	r.Pause()
	return r.Reader.Read(b)
}
