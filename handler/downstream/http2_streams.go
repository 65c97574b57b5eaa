package downstream

import (
	"cmp"
	"time"
)

// A connection of HTTP/2 without a valid key is charged for its streams, which can hold
// memory for as long as the client does not read their answers.
const (
	// MaxStreams is how many streams a client of HTTP/2 may have at once: 100,
	// the smallest limit that RFC 9113 section 6.5.2 recommends.
	MaxStreams = 100

	// streamCost is what a stream of HTTP/2 takes at most, without its headers: 20
	// KiB, stacks and buffers.
	streamCost = 20 << 10

	// maxRefused is how many requests of a connection of HTTP/2 are refused before it
	// drains: 16. A draining connection is not read from until all of its streams have
	// ended. net/http does not report when the client has read one answer, but it reports
	// when no stream is left.
	maxRefused = 16

	// firstStreams is how long a connection of HTTP/2 may have streams before it is
	// charged for MaxStreams: 200 ms. Some streams never reach a handler of ours, so
	// they cannot be counted one by one. A valid key reaches its handler sooner.
	// Without the delay, a few dozen clients that reconnect together after a restart
	// would evict each other.
	firstStreams = 200 * time.Millisecond

	// drainTime replaces firstStreams while a connection drains: 500 ms.
	drainTime = 500 * time.Millisecond
)

// beginStreams charges the connection for its first stream of HTTP/2, and later for
// MaxStreams.
func (c *Conn) beginStreams() {
	c.listener.charge(c, false, func(h *held) {
		h.streams = 1
		var all *time.Timer
		all = time.AfterFunc(cmp.Or(c.listener.firstStreams, firstStreams), func() {
			c.listener.charge(c, false, func(h *held) {
				if h.all == all {
					c.listener.endDrain(c)
					h.streams = MaxStreams
				}
			})
		})
		h.all = all
	})
}

// countRefused charges the connection for a refused request on a stream of HTTP/2, and
// for those that are read before it drains. It drains at the maxRefused-th.
func (c *Conn) countRefused() {
	c.listener.charge(c, false, func(h *held) {
		h.refused = min(h.refused+1, MaxStreams)
		h.streams = max(h.streams, h.refused, maxRefused)
		if h.refused == maxRefused && h.streams < MaxStreams && h.all != nil {
			h.drains = true
			h.all.Reset(cmp.Or(c.listener.drainTime, drainTime))
		}
	})
}

// endStreams takes off the streams of a connection, of which none is left; with the lock
// held.
func (s *Listener) endStreams(c *Conn) {
	if c.held.all != nil {
		c.held.all.Stop()
		c.held.all = nil
	}
	c.held.streams, c.held.refused = 0, 0
	s.endDrain(c)
}

// endDrain resumes reading from a connection, if it drains; with the lock held.
func (s *Listener) endDrain(c *Conn) {
	if c.held.drains {
		c.held.drains = false
		s.freed.Broadcast()
	}
}
