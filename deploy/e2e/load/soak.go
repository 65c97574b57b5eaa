//go:build unix

package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	chatRoute  = "/v1/chat/completions" // of those who stay to the end
	leaveRoute = "/api/chat"            // of those who leave before

	// raced is how many streams the proxy can have when it is built with -race: the race
	// detector allows 8,128 goroutines, and each stream takes two.
	raced = 3000
)

// soak runs as many streams at once as possible, again and again, for the given time. Each
// answer is compared byte for byte with what Ollama sends, and each request with what Ollama
// gets. One client in eight leaves before the end. In the end the proxy's metrics must add
// up to what the clients have got, and the proxy must not have more goroutines, files and
// memory than after the first streams.
func soak(lasts time.Duration) {
	n := (descriptors()-100)/2 - 100 // see --max-connections; one for a client, one for Ollama
	if most := kit.Atoi(environ("STREAMS", "100000")); n > most {
		n = most
	}
	n = min(n, 9800)
	if environ("RACE", "") != "" {
		n = min(n, raced)
	}
	key := mint()
	upstream := startUpstream(0)
	p := launch(0, "proxy", "--upstream", upstream)

	wave := func(n int, lasts time.Duration) *tally {
		t := &tally{}
		stop := make(chan struct{})
		time.AfterFunc(lasts, func() { close(stop) })
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() { t.client(p.Address, key, i, max(1500, n/2), stop) })
			if i%50 == 49 {
				time.Sleep(20 * time.Millisecond)
			}
		}
		all.Wait()
		return t
	}
	// Warms up with the same load as below.
	first := wave(200, 2*time.Second)
	before := p.settled()
	before.files -= connectionsTo(upstream)
	cpu, from := p.CPU(), time.Now()
	over := make(chan struct{})
	var most atomic.Int64
	go func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(500 * time.Millisecond):
				most.Store(max(most.Load(), int64(p.Metric("ollama_proxy_active_streams"))))
			}
		}
	}()
	t := wave(n, lasts)
	close(over)
	took, peak := time.Since(from), p.Peak()
	cpu = p.CPU() - cpu
	if lasts > time.Minute {
		time.Sleep(100 * time.Second) // idle connections to Ollama are kept for 90
	}
	after := p.settled()
	idle := connectionsTo(upstream)
	after.files -= idle

	events := t.events.Load()
	kit.Pass("%d streams at once (the proxy counts %d), for %s: %d came to their end as Ollama sent them, %d clients left before; %d events, %s",
		n, most.Load(), kit.Seconds(took), t.whole.Load(), t.left.Load(), events, mega(float64(t.bytes.Load())))
	kit.Note("%.0f us on the processor for an event; at most %s, which is %.1f KiB a stream; first byte after %s (median), %s (99 of 100)",
		cpu.Seconds()*1e6/float64(events), mega(peak), (peak-before.resident)/1024/float64(n), t.quantile(50), t.quantile(99))
	kit.Note("before: %.0f goroutines, %.0f files, %s in use, %s resident", before.goroutines, before.files, mega(before.heap), mega(before.resident))
	kit.Note("after:  %.0f goroutines, %.0f files, %s in use, %s resident, and %.0f connections to Ollama that wait for requests",
		after.goroutines, after.files, mega(after.heap), mega(after.resident), idle)
	if after.goroutines > before.goroutines+2 || after.files > before.files+2 || after.heap > 1.5*before.heap+16<<10*idle+8<<20 || idle > 1024 {
		kit.Fatal("something has leaked")
	}
	if int(most.Load()) < n*9/10 {
		kit.Fatal("there were only %d streams at once", most.Load())
	}

	t.add(first)
	t.isCountedBy(p)
	p.Stop()
	if log := p.Logged(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
		kit.Fatal("the log says %s", log)
	}
	kit.Pass("nothing has leaked, and the proxy's counters are what the clients have counted, to the byte")
}

// A tally counts what clients have got.
type tally struct {
	whole, left, events, bytes, sent atomic.Int64

	mu     sync.Mutex
	firsts []time.Duration
}

// isCountedBy ends the program unless the proxy's metrics equal the tally.
func (t *tally) isCountedBy(p *proxy) {
	for name, count := range map[string][2]float64{
		"bytes of whole streams":      {p.Metric("ollama_proxy_stream_bytes_total", chatRoute), float64(t.bytes.Load())},
		"whole streams":               {p.Metric("ollama_proxy_streams_total", chatRoute, `"complete"`), float64(t.whole.Load())},
		"whole streams of any kind":   {p.Metric("ollama_proxy_streams_total", `"complete"`), float64(t.whole.Load())},
		"streams whose client left":   {p.Metric("ollama_proxy_streams_total", leaveRoute, `"client_gone"`), float64(t.left.Load())},
		"all streams":                 {p.Metric("ollama_proxy_streams_total"), float64(t.whole.Load() + t.left.Load())},
		"requests":                    {p.Metric("ollama_proxy_requests_total", `"POST"`), float64(t.whole.Load() + t.left.Load())},
		"requests answered with 200":  {p.Metric("ollama_proxy_requests_total", `"POST"`, `"200"`), float64(t.whole.Load())},
		"errors of Ollama's":          {p.Metric("ollama_proxy_upstream_errors_total"), 0},
		"refusals":                    {p.Metric("ollama_proxy_refusals_total"), 0},
		"streams that are active":     {p.Metric("ollama_proxy_active_streams"), 0},
		"bytes of the requests' body": {p.Metric("ollama_proxy_request_bytes_total"), float64(t.sent.Load())},
	} {
		if count[0] != count[1] {
			kit.Fatal("the proxy counts %.0f %s, and the clients %.0f", count[0], name, count[1])
		}
	}
}

func (t *tally) add(other *tally) {
	t.whole.Add(other.whole.Load())
	t.left.Add(other.left.Load())
	t.bytes.Add(other.bytes.Load())
	t.sent.Add(other.sent.Load())
}

func (t *tally) quantile(percent int) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return quantile(t.firsts, percent).Round(10 * time.Microsecond)
}

func quantile(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, len(all)*percent/100)]
}

var numbers atomic.Uint64

// client reads one stream after the other, until it is to stop. Pause is the time between
// two events, in milliseconds.
func (t *tally) client(address, key string, i, pause int, stop chan struct{}) {
	c := &caller{address: address, key: key}
	defer c.hangUp()
	for {
		select {
		case <-stop:
			return
		default:
		}
		q := ask{Path: chatRoute, N: numbers.Add(1), Events: 3 + rand.IntN(12), Pause: pause, Size: 120}
		leave := 0
		switch i % 8 {
		case 0:
			q.Path, leave = leaveRoute, 1+rand.IntN(q.Events)
		case 1:
			q.Size, q.Events = 8000, 5
		case 2:
			q.Pad = 100_000
		}
		r, err := c.whole(q, leave)
		switch {
		case leave > 0 && errors.Is(err, errLeft):
			t.left.Add(1)
		case err != nil:
			kit.Fatal("%v", err)
		default:
			t.whole.Add(1)
			t.bytes.Add(int64(r.bytes))
		}
		t.events.Add(int64(q.Events))
		t.sent.Add(int64(len(q.body())))
		t.mu.Lock()
		t.firsts = append(t.firsts, r.first)
		t.mu.Unlock()
		if i%3 == 0 {
			c.hangUp() // for a new connection
		}
	}
}

func environ(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
