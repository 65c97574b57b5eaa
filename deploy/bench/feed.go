//go:build linux

package main

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// feed is one paced stream. Both of its ends are in this process: the
// upstream's end notes when it sends each event, the client's end when it
// arrived.
type feed struct {
	number  int
	conn    *conn         // the upstream's
	began   chan struct{} // the question has arrived
	ended   chan struct{} // nothing more will be sent
	once    sync.Once
	sent    atomic.Int64 // events
	sentAt  []atomic.Int64
	arrived int64 // bytes
	delays  []delay
}

// delay is how long the event that left at a moment (since the start of the
// program) took.
type delay struct{ at, took time.Duration }

var start = time.Now()

// newFeed makes a feed for up to n events.
func newFeed(number, n int) *feed {
	return &feed{
		number: number,
		began:  make(chan struct{}),
		ended:  make(chan struct{}),
		sentAt: make([]atomic.Int64, n),
		delays: make([]delay, 0, n),
	}
}

// serve is the upstream's part: it leaves the connection to whoever sends.
func (f *feed) serve(c *conn) error {
	f.conn = c
	if _, err := c.Write(streamHead); err != nil {
		return err
	}
	close(f.began)
	<-f.ended
	return nil
}

// send sends the next event.
func (f *feed) send() error {
	i := int(f.sent.Load())
	if i == len(f.sentAt) {
		return errors.New("a feed that is too short")
	}
	at := (firstEvent(f.number) + i) % eventCount
	f.sentAt[i].Store(int64(time.Since(start)))
	f.sent.Store(int64(i + 1))
	_, err := f.conn.Write(wire[at*chunkLen : (at+1)*chunkLen])
	return err
}

// finish ends the stream as it should end.
func (f *feed) finish() error {
	_, err := f.conn.Write(wireEnding)
	f.abandon()
	return err
}

// abandon lets go of the stream, wherever it is.
func (f *feed) abandon() { f.once.Do(func() { close(f.ended) }) }

// take is the client's part: it checks a piece of the stream, and notes which
// events it completes.
func (f *feed) take(piece []byte) error {
	events, before := f.sent.Load(), f.arrived/int64(eventLen)
	if err := checkStream(f.number, f.arrived, events, piece); err != nil {
		return err
	}
	f.arrived += int64(len(piece))
	now := time.Since(start)
	for i := before; i < min(f.arrived/int64(eventLen), events); i++ {
		at := time.Duration(f.sentAt[i].Load())
		f.delays = append(f.delays, delay{at, now - at})
	}
	return nil
}

// complete reports whether all of the stream has arrived.
func (f *feed) complete() bool { return f.arrived == streamLen(f.sent.Load()) }
