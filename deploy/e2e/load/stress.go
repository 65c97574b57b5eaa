//go:build unix

package main

import (
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// stressers is the number of clients.
const stressers = 96

// stress looks for requests that hang. Clients send requests in pieces, leave at any moment,
// or pause, and an Ollama sends answers in pieces and closes connections at any moment. Each
// takes milliseconds, so a request that takes seconds hangs: most likely a goroutine was not
// woken. Then stuck prints the state of both sides.
func stress(lasts time.Duration) {
	// The nice value must not be lower than that of the kernel's threads: requests that
	// wait for these would seem to hang.
	os.WriteFile("/proc/self/autogroup", []byte("0"), 0)
	key := mint()
	upstream := startMoody()
	p := launchQuiet("proxy", "--upstream", upstream)
	w := newWatch(p, upstream)
	t := &stressed{}
	stop := make(chan struct{})
	time.AfterFunc(lasts, func() { close(stop) })
	var all sync.WaitGroup
	for i := range stressers {
		all.Go(func() {
			c := &caller{address: p.Address, key: key}
			defer c.hangUp()
			for {
				select {
				case <-stop:
					return
				default:
				}
				q := stressing(numbers.Add(1))
				w.begin(i, q)
				became := c.undergo(q)
				w.end(i) // blocks while the watch ends the program
				t.count(q, became)
				if i%8 == 0 { // it comes back when its connection, and Ollama's, has been asleep
					time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	kit.Await("the proxy to have nothing to do", func() bool { return p.Metric("ollama_proxy_in_flight_requests") == 0 })
	p.Stop()
	if log := p.Logged(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic") {
		kit.Fatal("the log says %s", tail(log))
	}
	total := t.whole.Load() + t.left.Load() + t.broken.Load() + t.refused.Load()
	kit.Pass("of %d requests in %s none took %s: %d came to their end, %d clients left, %d answers broke off or were none as Ollama's did, %d met a connection that Ollama had just closed",
		total, kit.Seconds(lasts), kit.Seconds(hangs), t.whole.Load(), t.left.Load(), t.broken.Load(), t.refused.Load())
	if t.whole.Load() < total/2 || t.refused.Load() > total/50 {
		kit.Fatal("that is too few of them")
	}
}

// launchQuiet starts a proxy that logs neither its requests nor its addresses.
func launchQuiet(name string, args ...string) *proxy {
	p := &proxy{&kit.Proxy{Address: kit.FreeAddress(), Metrics: kit.FreeAddress()}}
	p.Child = kit.Serve(name, nil, append([]string{"--secret-file", secret(), "--log-level", "warn", "--listen", p.Address, "--metrics-listen", p.Metrics}, args...)...)
	kit.Await(name+" to serve", func() bool {
		status, _ := kit.Fetch("http://" + p.Metrics + "/readyz")
		return status == 200
	})
	return p
}

// stressed counts the outcomes of requests.
type stressed struct{ whole, left, broken, refused atomic.Int64 }

func (t *stressed) count(q ask, became outcome) {
	switch {
	case became.err == errLeft:
		t.left.Add(1)
	case q.mood().breaks():
		if became.err == nil {
			kit.Fatal("request %d, to which the answer broke off (%v), has a whole one", q.N, q.mood())
		}
		t.broken.Add(1)
	case became.err == nil:
		t.whole.Add(1)
	case became.status == 502:
		t.refused.Add(1)
	default:
		kit.Fatal("request %d (%v): %v", q.N, q.mood(), became.err)
	}
}
