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
	rollers = 40 // clients
	idlers  = 8  // who come seldom, on connections that are kept
)

// A replica is a proxy whose addresses outlive it.
type replica struct {
	*proxy
	name, listen, ops string
}

// rolling replaces three replicas one by one, with SIGTERM, behind the HAProxy
// that deploy/ has, and with the delay that compose gives them. Clients have
// streams from them all the while, each of which is compared byte for byte:
// none may fail, and none may be cut. Nobody tries anything twice.
func rolling(times int) {
	upstream := startUpstream(0)
	mint() // for the secret
	keys := strings.Fields(mint("--count", "64"))
	delay := shipped("deploy/compose.yaml", `OLLAMA_PROXY_DRAIN_DELAY: (\S+)`)
	var replicas []*replica
	var servers strings.Builder
	for i := range 3 {
		r := &replica{name: fmt.Sprintf("r%d", i+1), listen: kit.FreeAddress(), ops: kit.FreeAddress()}
		replicas = append(replicas, r)
		r.start(upstream, delay)
		_, port, _ := net.SplitHostPort(r.ops)
		fmt.Fprintf(&servers, "  server %s %s port %s\n", r.name, r.listen, port)
	}
	front := startHAProxy(servers.String())
	kit.Await("HAProxy and three replicas", func() bool {
		for _, key := range keys {
			c := &caller{address: front, key: key}
			_, err := c.whole(ask{Path: chatRoute, N: numbers.Add(1), Events: 1, Size: 10}, 0)
			c.hangUp()
			if err != nil {
				return false
			}
		}
		return !slices.ContainsFunc(replicas, func(r *replica) bool { return r.asked() == 0 })
	})

	stop := make(chan struct{})
	var all sync.WaitGroup
	var whole, events, bytes atomic.Int64
	for i := range rollers + idlers {
		all.Go(func() {
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				c := &caller{address: front, key: keys[rand.IntN(len(keys))]}
				q := ask{Path: []string{chatRoute, "/api/chat", "/v1/messages"}[n%3], N: numbers.Add(1), Events: 5 + rand.IntN(25), Pause: 150, Size: 200}
				for range 4 { // on one connection
					if i >= rollers {
						q.Events, q.Pause = 1, 0
						time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
					}
					r, err := c.whole(q, 0)
					if err != nil {
						kit.Fatal("while the replicas were replaced: %v", err)
					}
					whole.Add(1)
					events.Add(int64(q.Events))
					bytes.Add(int64(r.bytes))
					q.N, q.Events = numbers.Add(1), 1+rand.IntN(8)
				}
				c.hangUp()
			}
		})
	}
	time.Sleep(2 * time.Second)
	for n := range times {
		from, before := time.Now(), whole.Load()
		var took []string
		for _, r := range replicas {
			ran, told := r.Metric("ollama_proxy_active_streams"), time.Now()
			r.Stop()
			r.wasGood()
			took = append(took, fmt.Sprintf("%s ended %s after SIGTERM with %.0f streams", r.name, kit.Seconds(time.Since(told)), ran))
			r.start(upstream, delay)
			kit.Await(r.name+" to be asked again", func() bool { return r.asked() > 0 })
			time.Sleep(time.Second)
		}
		kit.Note("round %d: %s; %d streams meanwhile, %s", n+1, strings.Join(took, ", "), whole.Load()-before, kit.Seconds(time.Since(from)))
	}
	close(stop)
	all.Wait()
	for _, r := range replicas {
		r.Stop()
		r.wasGood()
	}
	kit.Pass("three replicas replaced one by one, %d times, amid %d streams (%d events, %s): none failed, and none was cut", times, whole.Load(), events.Load(), mega(float64(bytes.Load())))
}

func (r *replica) start(upstream, delay string) {
	r.proxy = launch(0, r.name, "--upstream", upstream, "--listen", r.listen, "--metrics-listen", r.ops, "--drain-delay", delay, "--trusted-proxy", "127.0.0.1")
}

// asked is how many requests it has had.
func (r *replica) asked() float64 { return r.Metric("ollama_proxy_requests_total") }

var outcomes = regexp.MustCompile(`outcome=(\w+)`)

// wasGood fails if its log tells of anything but answers that are complete.
func (r *replica) wasGood() {
	for _, m := range outcomes.FindAllStringSubmatch(r.Logged(), -1) {
		if m[1] != "complete" {
			kit.Fatal("%s has an answer that is %s: %s", r.name, m[1], tail(r.Logged()))
		}
	}
}

// startHAProxy starts one as deploy/ has it, but for its addresses, and gives
// that for clients.
func startHAProxy(servers string) (front string) {
	front = kit.FreeAddress()
	file := kit.HAProxyConfig(servers, [2]string{`bind :8080`, `bind ` + front}, [2]string{`bind 127.0.0.1:8404`, `bind ` + kit.FreeAddress()})
	kit.Start("haproxy", nil, "haproxy", "-db", "-f", file)
	return front
}

// shipped is a value in a file of deploy/.
func shipped(file, pattern string) string {
	m := regexp.MustCompile(pattern).FindStringSubmatch(kit.ReadFile(file))
	if m == nil {
		kit.Fatal("%s has no %s", file, pattern)
	}
	return m[1]
}
