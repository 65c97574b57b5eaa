//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	window = 3 * time.Second  // in which latencies are measured
	stall  = 15 * time.Second // --stall-timeout

	// mostMemory is how much memory the proxy may take under any load: bodies of 256 MiB,
	// 50 KiB for each of 3,000 other requests, 10,000 connections; and all that twice,
	// since garbage is collected late.
	mostMemory = 1536 << 20
)

// greedy attacks the proxy with slow and greedy clients, one kind after the other and then
// all together. Meanwhile ordinary clients send requests, and each answer must be complete.
// It reports the time to the first byte with and without the attack, which depends on the
// machine, and limits the proxy's memory, which does not.
func greedy(rounds int) {
	threads, _ := filepath.Glob("/proc/self/task/*")
	for _, thread := range threads { // the measuring process must not wait for the measured one
		syscall.Setpriority(syscall.PRIO_PROCESS, kit.Atoi(filepath.Base(thread)), -15)
	}
	key := mint()
	p := launch(-15, "proxy", "--upstream", startUpstream(-15), "--stall-timeout", stall.String())
	calls := newCalls(p.Address, key)
	calls.measure(window) // warms up
	before := p.settled()
	kit.Note("first byte, median and 99 of 100; calm > under attack; then, what the proxy has at most of memory so far")
	kinds := append(slices.Clone(attacks), attacker{name: "all of them"})
	for _, kind := range kinds {
		if only := os.Getenv("ONLY"); only != "" && !slices.Contains(strings.Split(only, ","), kind.name) {
			continue
		}
		var calm, hit []measured
		var said []string
		for range rounds {
			calm = append(calm, calls.measure(window))
			var running []*running
			for _, k := range attacks {
				if kind.name == k.name || kind.run == nil && k.name != "idle" {
					running = append(running, startAttack(k, p.Address, key))
				}
			}
			for _, r := range running {
				r.await("ready")
			}
			p.quiet()
			hit = append(hit, calls.measure(max(window, kind.least)))
			for _, r := range running {
				said = append(said, r.end())
			}
			kit.Await("the attack to be over", func() bool { return p.Metric("ollama_proxy_in_flight_requests") == 0 })
		}
		c, h := medians(calm), medians(hit)
		kit.Pass("%-12s p50 %s > %s (x%.1f), p99 %s > %s (x%.1f), of %d; %s; %s", kind.name, milli(c.p50), milli(h.p50), float64(h.p50)/float64(c.p50),
			milli(c.p99), milli(h.p99), float64(h.p99)/float64(c.p99), h.n, mega(p.Peak()), strings.Join(slices.Compact(said), ", "))
		if p.Peak() > mostMemory {
			kit.Fatal("the proxy takes %s", mega(p.Peak()))
		}
	}
	calls.hangUp()
	after := p.settled()
	kit.Note("before: %.0f goroutines, %.0f files, %s in use; after: %.0f, %.0f, %s", before.goroutines, before.files, mega(before.heap), after.goroutines, after.files, mega(after.heap))
	if after.goroutines > before.goroutines+2 {
		kit.Fatal("something has leaked")
	}
	p.Stop()
	if log := p.Logged(); strings.Contains(log, "panic") || strings.Contains(log, "too many open files") {
		kit.Fatal("the log says %s", tail(log))
	}
}

// quiet waits until the streams that are not read stand still: filling their buffers is a
// load by Ollama, not by the attack.
func (p *proxy) quiet() {
	for last, end := -1.0, time.Now().Add(kit.Timeout); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		now := p.Metric("ollama_proxy_stream_bytes_total")
		if now == last {
			return
		}
		last = now
	}
}

func milli(d time.Duration) string { return fmt.Sprintf("%.2fms", d.Seconds()*1e3) }

// A measured holds quantiles of the time to the first byte.
type measured struct {
	p50, p99 time.Duration
	n        int
}

func medians(all []measured) (m measured) {
	var p50, p99 []time.Duration
	for _, one := range all {
		p50, p99, m.n = append(p50, one.p50), append(p99, one.p99), m.n+one.n
	}
	m.p50, m.p99 = quantile(p50, 50), quantile(p99, 50)
	return m
}

// calls are ordinary clients: most keep their connection, and some open a new one for each
// request.
type calls struct{ callers []*caller }

func newCalls(address, key string) *calls {
	c := &calls{}
	for range 10 {
		c.callers = append(c.callers, &caller{address: address, key: key})
	}
	return c
}

func (c *calls) measure(lasts time.Duration) measured {
	c.hangUp() // the proxy may have closed it, since it was idle for long
	var all sync.WaitGroup
	var mu sync.Mutex
	var firsts []time.Duration
	until := time.Now().Add(lasts)
	for i, caller := range c.callers {
		all.Go(func() {
			for time.Now().Before(until) {
				n := numbers.Add(1)
				r, err := caller.whole(ask{Path: chatRoute, N: n, Events: 2, Size: 100}, 0)
				if err != nil {
					kit.Fatal("an ordinary client: %v", err)
				}
				mu.Lock()
				firsts = append(firsts, r.first)
				mu.Unlock()
				if i%5 == 4 {
					caller.hangUp()
				}
				time.Sleep(15*time.Millisecond + time.Duration(hash(n, 7)%20)*time.Millisecond)
			}
		})
	}
	all.Wait()
	return measured{quantile(firsts, 50), quantile(firsts, 99), len(firsts)}
}

func (c *calls) hangUp() {
	for _, caller := range c.callers {
		caller.hangUp()
	}
}

// A running attack is a process of its own.
type running struct {
	*kit.Child
	in  io.WriteCloser
	out *bufio.Reader
}

// startAttack starts an attack at the lowest priority, since real attackers have machines of
// their own.
func startAttack(kind attacker, address, key string) *running {
	self, err := os.Executable()
	kit.Must(err, "this program")
	in, hold, err := os.Pipe()
	kit.Must(err, "a pipe")
	out, w, err := os.Pipe()
	kit.Must(err, "a pipe")
	r := &running{in: hold, out: bufio.NewReader(out)}
	r.Child = kit.Start("attack-"+kind.name, func(c *exec.Cmd) {
		c.Env, c.Stdin, c.Stdout = append(c.Env, "ATTACK_KEY="+key, "ATTACK_CONNS="+environ("CONNS", strconv.Itoa(kind.conns))), in, w
	}, "chrt", "--idle", "0", self, kit.Dir, "attack", kind.name, address).Nice(19)
	in.Close()
	w.Close()
	return r
}

func (r *running) await(word string) string {
	line, err := r.out.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, word) {
		kit.Fatal("%s says %q, %v: %s", r.Name, line, err, r.Logged())
	}
	return strings.TrimSpace(strings.TrimPrefix(line, word))
}

// end ends the attack, and returns the result that it prints.
func (r *running) end() string {
	r.Ending.Store(true)
	r.in.Close()
	text := r.await("done")
	<-r.Gone
	return text
}
