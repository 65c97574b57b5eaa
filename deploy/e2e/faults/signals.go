//go:build linux

package main

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	streams     = 40
	signalCount = 5000
	maxPause    = 500 * time.Millisecond // the longest pause in a stream that a user would not notice
)

// checkSignals: no signal harms requests in flight but SIGKILL, and then clients can see that
// their answers are incomplete.
func checkSignals() {
	list := filepath.Join(kit.Dir, "signals.list")
	kit.WriteFile(list, "")
	p := launch("signals", nil, "--revocations", list)
	key, victim := p.mint(), p.mint()
	for attempt := 1; checkHangups(p, key, victim, list) > maxPause; attempt++ {
		if attempt == 3 {
			kit.Fatal("amid %d SIGHUP, a stream stood still for more than %s, three times", signalCount, kit.Seconds(maxPause))
		}
		victim = p.mint() // the machine itself may have stood still
	}
	checkStop(p, key)
	checkKill(key)
}

// checkHangups sends thousands of SIGHUP during streams and other requests, and revokes a key
// meanwhile. It returns the longest pause in a stream.
func checkHangups(p *proxy, key, victim, list string) (pause time.Duration) {
	for _, s := range p.streams(key, streams+10) { // so that idle connections to Ollama are counted below
		if !s.whole() {
			kit.Fatal("a stream before any signal: %s", s)
		}
	}
	goroutines, files := p.settled()
	const cutStreams, refusals = `ollama_proxy_streams_total{outcome="revoked",route="/api/chat"}`, `ollama_proxy_refusals_total{reason="revoked"}`
	said, cut, refused := len(p.Logged()), p.Metric(cutStreams), p.Metric(refusals)
	if math.IsNaN(cut) {
		cut = 0 // before the first there is no series
	}
	running, stop := p.streams(key, streams), p.sendRequests(key)
	var doomed *stream
	from := time.Now()
	for n := range signalCount {
		kit.Must(p.Process.Signal(syscall.SIGHUP), "SIGHUP")
		if n == signalCount/2 {
			doomed = p.streams(victim, 1)[0]
			kit.Command("revoke", "--revocations", list, "--reason", "amid a storm", victim)
		}
		time.Sleep(100 * time.Microsecond)
	}
	storm := time.Since(from)
	asked := stop()
	for _, s := range running {
		if !s.whole() {
			kit.Fatal("a stream amid %d SIGHUP: %s", signalCount, s)
		}
		pause = max(pause, s.pause)
	}
	if !doomed.broken() || !strings.Contains(string(doomed.body), "has been revoked") {
		kit.Fatal("the stream of a key that was revoked amid %d SIGHUP: %s", signalCount, doomed)
	}
	p.expectStatus(victim, http.StatusUnauthorized, "a key revoked amid SIGHUP")
	if g, f := p.settled(); g > goroutines+2 || f > files+2 {
		kit.Fatal("after %d SIGHUP there are %v goroutines where there were %v, and %v open files where there were %v", signalCount, g, goroutines, f, files)
	}
	p.expectMetric(cutStreams, cut+1)
	p.expectMetric(refusals, refused+1)
	p.expectLog(said, 1, "level=INFO msg=request", "route=/api/chat", "status=401", "outcome=revoked")
	p.expectLog(said, 1, "level=INFO msg=request", "status=401", "outcome=refused reason=revoked")
	p.expectLog(said, streams, "level=INFO msg=request", "route=/api/chat", "status=200", "outcome=complete")
	p.expectLog(said, 0, "level=WARN")
	p.expectLog(said, 0, "level=ERROR")
	reloads := strings.Count(p.Logged()[said:], "msg=reloaded")
	if reloads > 2*signalCount+10 {
		kit.Fatal("%d SIGHUP, and %d lines of reloads", signalCount, reloads)
	}
	kit.Pass("%d SIGHUP within %s: %d streams whole, none stood still for more than %s, %d requests answered, a revocation heeded, nothing leaked; %d reloads in the log",
		signalCount, kit.Seconds(storm), streams, kit.Seconds(pause), asked, reloads)
	return pause
}

// sendRequests sends requests until stop is called, which returns how many were answered.
func (p *proxy) sendRequests(key string) (stop func() int64) {
	var all sync.WaitGroup
	var n atomic.Int64
	over := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				p.expectStatus(key, http.StatusOK, "a request amid signals")
				n.Add(1)
				time.Sleep(time.Millisecond)
			}
		})
	}
	return func() int64 {
		close(over)
		all.Wait()
		return n.Load()
	}
}

// settled waits until the number of goroutines no longer changes, without connections of
// clients, and returns it with the number of open files.
func (p *proxy) settled() (goroutines, files float64) {
	client.CloseIdleConnections()
	var last float64
	for still := 0; still < 10; time.Sleep(20 * time.Millisecond) {
		goroutines, files = p.Metric("go_goroutines"), p.Metric("process_open_fds")
		if goroutines == last {
			still++
		} else {
			last, still = goroutines, 0
		}
	}
	return goroutines, files
}

// checkStop: after SIGTERM streams run to their end, and new requests get 503.
func checkStop(p *proxy, key string) {
	running, said := p.streams(key, streams), len(p.Logged())
	p.Terminate()
	turned, counted := 0, false
	for over := false; !over; time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.Gone:
			over = true
			continue
		default:
		}
		status, _, err := get("http://"+p.Address+"/api/version", key)
		switch {
		case err == nil && status == http.StatusServiceUnavailable:
			turned++
			_, page, _ := get("http://"+p.Metrics+"/metrics", "") // the metrics must be served until the end
			counted = counted || strings.Contains(page, fmt.Sprintf("\nollama_proxy_refusals_total{reason=\"overload\"} %d\n", turned))
		case err == nil && (status != http.StatusOK || turned > 0):
			kit.Fatal("after SIGTERM a request got status %d", status)
		}
	}
	p.AwaitEnd()
	p.expectNoSecrets()
	for _, s := range running {
		if !s.whole() {
			kit.Fatal("a stream that ran at SIGTERM: %s", s)
		}
	}
	if turned == 0 || !counted {
		kit.Fatal("after SIGTERM %d were turned away, of which the metrics tell: %t", turned, counted)
	}
	p.expectLog(said, 1, `level=INFO msg="shutting down: running requests may finish" grace=1m0s`)
	p.expectLog(said, turned, "level=INFO msg=request", "status=503", "outcome=refused reason=overload")
	p.expectLog(said, streams, "level=INFO msg=request", "route=/api/chat", "status=200", "outcome=complete")
	p.expectLog(said, 0, "level=WARN")
	p.expectLog(said, 0, "level=ERROR")
	kit.Pass("SIGTERM: %d streams whole, %d requests turned away with 503, exit 0", streams, turned)
}

// checkKill: after SIGKILL each client sees that its stream is incomplete, and a new proxy
// serves at once on the same port.
func checkKill(key string) {
	kit.Must(os.Rename(secretOf("signals"), secretOf("killed")), "the secret")
	p := launch("killed", nil)
	running := p.streams(key, streams)
	p.Kill()
	from := time.Now()
	again := launch("killed", nil, "--listen", p.Address)
	took := time.Since(from)
	for _, s := range running {
		if !s.broken() {
			kit.Fatal("a stream whose proxy was killed looks whole: %s", s)
		}
	}
	p.expectNoSecrets()
	again.expectStatus(key, http.StatusOK, "a new proxy in the place of one that was killed")
	again.Stop()
	kit.Pass("SIGKILL: %d streams visibly broken, a new proxy on the same port after %s", streams, kit.Seconds(took))
}
