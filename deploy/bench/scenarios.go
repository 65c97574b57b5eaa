//go:build linux

package main

import (
	"fmt"
	"time"
)

// scenario is one kind of load, and what is measured under it.
type scenario struct {
	name     string
	about    string
	run      func(t *target, size size) (figures, error)
	measures []measure
	direct   bool // also runs without a proxy, for comparison
	logs     bool // peers with an access log take part
	narrowed bool // with keys that have four caveats
}

// measure is one of the figures that a scenario yields.
type measure struct {
	figure string
	about  string
	added  bool // less what the direct path takes
	free   bool // has no ratio: more is better, or it may be next to nothing
}

// size is how much load there is.
type size struct {
	warmUp, window time.Duration
	rounds         int
	connections    int // of the closed loop
	rate           int // requests a second
	streams        int // of 20 ms chunks
	slow           int // streams
}

var (
	fullSize  = size{warmUp: 500 * time.Millisecond, window: 3 * time.Second, rounds: 5, connections: 32, rate: 4000, streams: 128, slow: 4000}
	quickSize = size{warmUp: 300 * time.Millisecond, window: time.Second, rounds: 3, connections: 32, rate: 4000, streams: 128, slow: 1000}
	smokeSize = size{warmUp: 20 * time.Millisecond, window: 100 * time.Millisecond, rounds: 1, connections: 8, rate: 500, streams: 16, slow: 50}
)

var scenarios = []scenario{
	{
		name: "small", about: "small requests, 32 connections", logs: true,
		run:      func(t *target, s size) (figures, error) { return t.closedLoop(askSmall, s.connections, false) },
		measures: []measure{{figure: "cpu", about: "CPU µs per small request"}, {figure: "rate", about: "small requests a second, one core", free: true}},
	},
	{
		name: "narrowed", about: "small requests with four caveats in the key", narrowed: true,
		run:      func(t *target, s size) (figures, error) { return t.closedLoop(askSmall, s.connections, false) },
		measures: []measure{{figure: "cpu", about: "CPU µs per small request, key with four caveats"}},
	},
	{
		name: "rate", about: "small requests at a fixed rate", direct: true,
		run: func(t *target, s size) (figures, error) { return t.openLoop(s.rate) },
		measures: []measure{
			{figure: "cpu", about: "CPU µs per request at a fixed rate"},
			{figure: "p50", about: "latency added at a fixed rate, p50, µs", added: true},
			{figure: "p99", about: "latency added at a fixed rate, p99, µs", added: true, free: true},
			{figure: "p99", about: "latency at a fixed rate, p99, µs"},
		},
	},
	{
		name: "chunks", about: "128 streams of 20 ms chunks", direct: true,
		run: func(t *target, s size) (figures, error) {
			return t.paced(s.streams, 20*time.Millisecond, func() error { return nil })
		},
		measures: []measure{
			{figure: "cpu", about: "CPU µs per chunk"},
			{figure: "p50", about: "chunk delay added, p50, µs", added: true},
			{figure: "p99", about: "chunk delay added, p99, µs", added: true, free: true},
			{figure: "p99", about: "chunk delay, p99, µs"},
		},
	},
	{
		name: "full", about: "streams at full speed",
		run:      func(t *target, s size) (figures, error) { return t.closedLoop(askFull, 8, false) },
		measures: []measure{{figure: "cpu", about: "CPU µs per MiB of full-speed streams"}, {figure: "rate", about: "MiB a second of full-speed streams", free: true}},
	},
	{
		name: "bodies", about: "requests of 1 MB",
		run:      func(t *target, s size) (figures, error) { return t.closedLoop(askLarge, 8, false) },
		measures: []measure{{figure: "cpu", about: "CPU µs per request of 1 MB"}},
	},
	{
		name: "connect", about: "a new connection for each request",
		run:      func(t *target, s size) (figures, error) { return t.closedLoop(askSmall, 16, true) },
		measures: []measure{{figure: "cpu", about: "CPU µs per request on a new connection"}},
	},
	{
		name: "memory", about: "slow streams, an event a second on each",
		run: func(t *target, s size) (figures, error) {
			before, err := memoryOf(t.pids)
			if err != nil {
				return nil, err
			}
			var after int64
			found, err := t.paced(s.slow, time.Second, func() (err error) {
				after, err = memoryOf(t.pids)
				return err
			})
			if err != nil {
				return nil, err
			}
			found["kib"] = float64(after-before) / 1024 / float64(s.slow)
			found["total"] = float64(after) / (1 << 20)
			return found, nil
		},
		measures: []measure{{figure: "kib", about: "resident KiB per open stream"}, {figure: "total", about: "resident MiB with all of them open"}},
	},
}

// run starts the peer afresh, makes sure that it does its job, and puts it
// under the scenario's load. Without a peer the load goes to the upstream.
func (b *bench) run(s scenario, p *peer) (figures, error) {
	keys := b.keys
	if s.narrowed {
		keys = b.narrowed
	}
	t := &target{address: b.upstream.address, keys: keys, upstream: b.upstream, poller: b.poller, warmUp: b.size.warmUp, window: b.size.window}
	b.upstream.forget()
	if p != nil {
		b.runs++
		i, err := p.start(fmt.Sprintf("%s/%d", b.dir, b.runs), b.core, b.upstream.address, keys)
		if err != nil {
			return nil, err
		}
		defer i.stop()
		t.address = i.address
		if err := t.check(patience); err != nil {
			return nil, fmt.Errorf("%w; %s", err, i.lastWords())
		}
		t.pids = family(i.cmd.Process.Pid) // after its workers have answered
	}
	found, err := s.run(t, b.size)
	if err != nil {
		return nil, err
	}
	return found, b.upstream.error()
}
