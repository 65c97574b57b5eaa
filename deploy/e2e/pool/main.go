//go:build unix

// Command pool checks load balancing over three Ollamas that differ in their models, their
// speed and their slots: see the functions that main calls.
//
// .ci/pool runs it with a directory that contains the built ollama-proxy. It exits with
// status 1 at the first failure. The processes that it has started are ended by .ci/pool.
package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	clients  = 72
	warmUp   = 500 * time.Millisecond
	measured = 2 * time.Second         // each box alone
	together = 6 * time.Second         // all of them
	kills    = 6                       // each box twice, once by reset
	dead     = 1200 * time.Millisecond // for as long
	again    = 20                      // answers from a box that is back
	share    = 0.95                    // of what the boxes can do alone
)

var (
	key string // for the proxy

	// What they can do, 300, 200 and 100 requests a second, is as their weights.
	boxes = []*box{
		{name: "large", address: "127.0.0.2:0", slots: 12, service: 40 * time.Millisecond, queue: 90, weight: 3,
			models: []string{"llama3.2:3b", "nomic-embed-text:v1.5", "qwen3:8b", "gemma3:4b", "deepseek-r1:70b"}},
		{name: "middle", address: "127.0.0.3:0", slots: 10, service: 50 * time.Millisecond, queue: 60, weight: 2,
			models: []string{"llama3.2:3b", "nomic-embed-text:v1.5", "qwen3:8b", "mistral:7b", "phi4:14b"}},
		{name: "small", address: "127.0.0.4:0", slots: 6, service: 60 * time.Millisecond, queue: 30, weight: 1,
			models: []string{"llama3.2:3b", "nomic-embed-text:v1.5", "gemma3:4b", "mistral:7b", "tiny:1b"}},
	}

	// As often as they are asked for. No box has more to do with models of its
	// own than it can.
	mix = []string{
		"llama3.2:3b", "qwen3:8b", "deepseek-r1:70b", "gemma3:4b", "phi4:14b",
		"llama3.2:3b", "mistral:7b", "nomic-embed-text:v1.5", "deepseek-r1:70b", "qwen3:8b",
		"llama3.2:3b", "tiny:1b", "phi4:14b", "gemma3:4b", "llama3.2:3b",
		"qwen3:8b", "deepseek-r1:70b", "nomic-embed-text:v1.5", "mistral:7b", "llama3.2:3b",
	}
)

func main() {
	if len(os.Args) != 2 {
		kit.Fatal("run .ci/pool instead")
	}
	kit.Dir = os.Args[1]
	for _, b := range boxes {
		b.start()
	}
	sum := alone()
	p := start()
	if !checkCapacity(p, sum) && !checkCapacity(p, alone()) {
		kit.Fatal("the proxy does not make the most of its Ollamas")
	}
	checkBusy(p)
	checkDeaths(p)
	for _, b := range boxes {
		if n := b.strays.Load(); n > 0 {
			kit.Fatal("%s got %d requests for models that it does not have", b.name, n)
		}
	}
	kit.Pass("no request came to a box without its model, from the first one to the last")
	p.Stop()
	fmt.Printf("all held, after %s\n", kit.Seconds(time.Since(kit.Began)))
}

// alone measures how many requests a second each box answers without a proxy, with the
// models that it has, and returns the sum.
func alone() (sum float64) {
	for _, b := range boxes {
		l := put(min(clients, b.queue), b.address, "", only(b.has))
		rate := l.rate(measured)
		l.end()
		kit.Note("%s alone: %.0f answers a second, %.0f on paper", b.name, rate, b.perSecond())
		sum += rate
	}
	return sum
}

// checkCapacity reports whether the boxes answer as many requests through the proxy. The
// caller may try again: the machine may have been busy with something else.
func checkCapacity(p *kit.Proxy, sum float64) bool {
	before := answered()
	l := put(clients, p.Address, key, mix)
	rate := l.rate(together)
	l.end()
	if len(l.cut) > 0 {
		kit.Fatal("%d answers broke off, such as %s", len(l.cut), l.cut[0])
	}
	for i, n := range answered() {
		kit.Note("%s: %d requests", boxes[i].name, n-before[i])
	}
	if rate < share*sum {
		kit.Note("through the proxy there are %.0f answers a second, only %.3f of the %.0f that the boxes do alone", rate, rate/sum, sum)
		return false
	}
	kit.Pass("through the proxy %.0f answers a second, %.3f of the %.0f that the boxes do alone", rate, rate/sum, sum)
	return true
}

// checkBusy: other clients keep a box so busy that it refuses requests. No request for a
// model that another box has, too, fails.
func checkBusy(p *kit.Proxy) {
	b := boxes[2]
	others := (&load{address: b.address, patient: true}).begin(2*b.queue, only(b.has))
	retried := count(p, "upstream_retries_total", `reason="busy"`)
	l := put(clients, p.Address, key, only(elsewhere))
	time.Sleep(warmUp)
	kit.Await("a request that finds "+b.name+" busy", func() bool { return count(p, "upstream_retries_total", `reason="busy"`) > retried })
	rate := l.rate(measured)
	l.end()
	others.end()
	if len(l.cut) > 0 {
		kit.Fatal("%d answers broke off, such as %s", len(l.cut), l.cut[0])
	}
	kit.Pass("while others fill %s, %.0f requests found it busy and went elsewhere, and none failed: %.0f answers a second",
		b.name, count(p, "upstream_retries_total", `reason="busy"`)-retried, rate)
}

// checkDeaths: boxes die under load, one at a time, and come back.
func checkDeaths(p *kit.Proxy) {
	retried := func(reason string) float64 { return count(p, "upstream_retries_total", `reason="`+reason+`"`) }
	refused, reset := retried("refused"), retried("reset")
	type death struct{ from, to time.Time }
	var deaths []death
	from := time.Now()
	l := put(clients, p.Address, key, only(elsewhere))
	time.Sleep(warmUp)
	for i := range kills {
		b := boxes[i%len(boxes)]
		broken := l.broken()
		d := death{from: time.Now()}
		b.kill(i%2 == 0)
		d.to = time.Now()
		deaths = append(deaths, d)
		time.Sleep(dead)
		if up := count(p, "upstream_up", `upstream="`+b.name+`"`); up != 0 {
			kit.Fatal("%s after its death %s is taken to be up", dead, b.name)
		}
		rate := float64(l.between(d.to, time.Now())) / time.Since(d.to).Seconds()
		b.start()
		took := kit.Await("work for "+b.name+" after its return", func() bool { return b.life.answered.Load() >= again })
		kit.Note("%s killed, %s: %d streams cut, %.0f answers a second without it; back, it had given %d answers after %s",
			b.name, []string{"by reset", "by close"}[i%2], l.broken()-broken, rate, again, kit.Seconds(took))
		time.Sleep(warmUp)
	}
	rate := l.rate(time.Second)
	l.end()

	told := 0
	for _, a := range l.cut {
		if !slices.ContainsFunc(deaths, func(d death) bool { return a.asked.Before(d.to) && a.ended.After(d.from) }) {
			kit.Fatal("an answer broke off when nobody died: %s", a)
		}
		if a.told() {
			told++
		}
	}
	if len(l.cut) == 0 || retried("refused")+retried("reset") == refused+reset {
		kit.Fatal("the deaths hit nothing: %d streams were cut, and no request went elsewhere", len(l.cut))
	}
	kit.Pass("%d deaths: of %d requests none failed that had not begun to be answered", kills, l.between(from, time.Now())+len(l.cut))
	kit.Note("%d streams were cut, %d of them with an error in their own words, and none looks whole", len(l.cut), told)
	kit.Note("%.0f requests were refused and %.0f reset, and went elsewhere; in the end %.0f answers a second", retried("refused")-refused, retried("reset")-reset, rate)
}

// only returns the models of the mix for which the condition is true.
func only(so func(model string) bool) []string {
	return slices.DeleteFunc(slices.Clone(mix), func(model string) bool { return !so(model) })
}

// elsewhere reports whether more than one box has the model.
func elsewhere(model string) bool {
	n := 0
	for _, b := range boxes {
		if b.has(model) {
			n++
		}
	}
	return n > 1
}

func answered() (all []int64) {
	for _, b := range boxes {
		all = append(all, b.life.answered.Load())
	}
	return all
}

// start starts the proxy with the boxes, and makes a key.
func start() *kit.Proxy {
	secret := filepath.Join(kit.Dir, "secret")
	kit.Command("secret", "--out", secret)
	key = kit.Command("mint", "--secret-file", secret)
	args := []string{"--secret-file", secret}
	for _, b := range boxes {
		args = append(args, "--upstream", fmt.Sprintf("%s=http://%s,weight=%d", b.name, b.address, b.weight))
	}
	return kit.Serve("proxy", nil, args...).AwaitServing()
}

// count returns the sum of a metric's series with the label, of which there must be one.
func count(p *kit.Proxy, name, label string) float64 {
	n := p.Metric("ollama_proxy_"+name, label)
	if math.IsNaN(n) {
		kit.Fatal("the metrics have no %s with %s", name, label)
	}
	return n
}
