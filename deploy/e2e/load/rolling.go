//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	busyClients = 40
	idleClients = 8 // they send a request now and then, on connections that are kept
)

// A replica is a proxy whose addresses stay the same when it is replaced.
type replica struct {
	*proxy
	name, listen, ops string
}

// rolling replaces three replicas one by one, by SIGTERM, behind HAProxy with the
// configuration of deploy/ and with the drain delay of compose.yaml. Meanwhile clients
// read streams through it, and compare each byte for byte. No stream may fail or be cut.
// The clients retry nothing.
func rolling(times int) {
	upstream := startUpstream(0)
	mint() // makes the secret
	delay := deployedValue("deploy/compose.yaml", `OLLAMA_PROXY_DRAIN_DELAY: (\S+)`)
	w := &streamLoad{keys: strings.Fields(mint("--count", "64")), stop: make(chan struct{})}
	replicas := w.startReplicas(upstream, delay)
	w.start()
	time.Sleep(2 * time.Second) // of load before the first replica is replaced
	for n := range times {
		from, before := time.Now(), w.whole.Load()
		var took []string
		for _, r := range replicas {
			running, stopped := r.Metric("ollama_proxy_active_streams"), time.Now()
			r.Stop()
			r.expectComplete()
			took = append(took, fmt.Sprintf("%s ended %s after SIGTERM with %.0f streams", r.name, kit.Seconds(time.Since(stopped)), running))
			r.start(upstream, delay)
			kit.Await(r.name+" to get requests again", func() bool { return r.requests() > 0 })
			time.Sleep(time.Second) // of load on all three
		}
		kit.Note("round %d: %s; %d streams meanwhile, %s", n+1, strings.Join(took, ", "), w.whole.Load()-before, kit.Seconds(time.Since(from)))
	}
	close(w.stop)
	w.clients.Wait()
	for _, r := range replicas {
		r.Stop()
		r.expectComplete()
	}
	kit.Pass("three replicas replaced one by one, %d times, amid %d streams (%d events, %s): none failed, and none was cut", times, w.whole.Load(), w.events.Load(), mega(float64(w.bytes.Load())))
}

// streamLoad is the load of the clients in rolling.
type streamLoad struct {
	front   string // HAProxy's address
	keys    []string
	stop    chan struct{} // closed to end the load
	clients sync.WaitGroup

	whole, events, bytes atomic.Int64 // of streams that were read to their end
}

// startReplicas starts three replicas and HAProxy, and waits until each key works and
// each replica gets requests.
func (w *streamLoad) startReplicas(upstream, delay string) (replicas []*replica) {
	var servers strings.Builder
	for i := range 3 {
		r := &replica{name: fmt.Sprintf("r%d", i+1), listen: kit.FreeAddress(), ops: kit.FreeAddress()}
		replicas = append(replicas, r)
		r.start(upstream, delay)
		_, port, _ := net.SplitHostPort(r.ops)
		fmt.Fprintf(&servers, "  server %s %s port %s\n", r.name, r.listen, port)
	}
	w.front = startHAProxy(servers.String())
	kit.Await("HAProxy and three replicas", func() bool {
		for _, key := range w.keys {
			c := &caller{address: w.front, key: key}
			_, err := c.whole(ask{Path: chatRoute, N: numbers.Add(1), Events: 1, Size: 10}, 0)
			c.hangUp()
			if err != nil {
				return false
			}
		}
		return !slices.ContainsFunc(replicas, func(r *replica) bool { return r.requests() == 0 })
	})
	return replicas
}

// start starts the clients.
func (w *streamLoad) start() {
	for i := range busyClients + idleClients {
		w.clients.Go(func() {
			for n := i; ; n++ {
				select {
				case <-w.stop:
					return
				default:
				}
				w.connection(n, i >= busyClients)
			}
		})
	}
}

// connection reads four streams on one connection. An idle client pauses before each,
// and reads short ones.
func (w *streamLoad) connection(n int, idle bool) {
	c := &caller{address: w.front, key: w.keys[rand.IntN(len(w.keys))]}
	q := ask{Path: []string{chatRoute, "/api/chat", "/v1/messages"}[n%3], N: numbers.Add(1), Events: 5 + rand.IntN(25), Pause: 150, Size: 200}
	for range 4 {
		if idle {
			q.Events, q.Pause = 1, 0
			time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		}
		r, err := c.whole(q, 0)
		if err != nil {
			kit.Fatal("while the replicas were replaced: %v", err)
		}
		w.whole.Add(1)
		w.events.Add(int64(q.Events))
		w.bytes.Add(int64(r.bytes))
		q.N, q.Events = numbers.Add(1), 1+rand.IntN(8)
	}
	c.hangUp()
}

// start starts the replica, or the one that replaces it.
func (r *replica) start(upstream, delay string) {
	r.proxy = launch(0, r.name, "--upstream", upstream, "--listen", r.listen, "--metrics-listen", r.ops, "--drain-delay", delay, "--trusted-proxy", "127.0.0.1")
}

// requests returns how many requests the replica has got since it was started.
func (r *replica) requests() float64 { return r.Metric("ollama_proxy_requests_total") }

var outcomes = regexp.MustCompile(`outcome=(\w+)`)

// expectComplete ends the program if the log has an answer that is not complete.
func (r *replica) expectComplete() {
	for _, m := range outcomes.FindAllStringSubmatch(r.Logged(), -1) {
		if m[1] != "complete" {
			kit.Fatal("%s has an answer that is %s: %s", r.name, m[1], tail(r.Logged()))
		}
	}
}

// startHAProxy starts HAProxy with the configuration of deploy/ but other addresses, and
// returns the address for clients.
func startHAProxy(servers string) (front string) {
	front = kit.FreeAddress()
	file := kit.HAProxyConfig(servers, [2]string{`bind :8080`, `bind ` + front}, [2]string{`bind 127.0.0.1:8404`, `bind ` + kit.FreeAddress()})
	kit.Start("haproxy", nil, "haproxy", "-db", "-f", file)
	return front
}

// deployedValue returns what the pattern matches in a file of deploy/.
func deployedValue(file, pattern string) string {
	m := regexp.MustCompile(pattern).FindStringSubmatch(kit.ReadFile(file))
	if m == nil {
		kit.Fatal("%s has no %s", file, pattern)
	}
	return m[1]
}
