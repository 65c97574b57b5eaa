//go:build linux

package main

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	hour = int64(3600)
	year = 365 * 24 * hour
)

// A steppedProxy is a proxy whose wall clock can be stepped.
type steppedProxy struct {
	*proxy
	list  string   // of revoked keys
	clock *os.File // holds the step that its clock reads, see .ci/faults
}

// steps lists by how many seconds the clock is ahead, one after the other.
var steps = []int64{hour, -hour, 0, year, -year, 40 * year, 1, -1, 0}

// checkClock steps the wall clock during requests. Durations must not change with it; what
// depends on the date, such as the expiry of a key, must.
func checkClock() {
	p := launchStepped()
	defer p.clock.Close()
	key := p.mint()
	p.checkStreams(key)
	p.checkTimeout(key)
	p.checkRateLimit()
	p.checkExpiry()
	p.checkRevocations()
}

func launchStepped() *steppedProxy {
	list, clock := filepath.Join(kit.Dir, "clock.list"), filepath.Join(kit.Dir, "clock")
	large := strings.Repeat("# as large as a list must be to be known by its time\n", 30_000)
	kit.WriteFile(list, large)
	file, err := os.Create(clock)
	kit.Must(err, "the clock")
	p := &steppedProxy{list: list, clock: file}
	p.step(0)
	p.proxy = launch("clock", func(c *exec.Cmd) {
		c.Path = filepath.Join(kit.Dir, "ollama-proxy-stepped")
		c.Env = append(c.Env, "CLOCK_STEP="+clock)
	}, "--revocations", list, "--stall-timeout", "3s", "--first-byte-timeout", "3s", "--log-format", "json")
	return p
}

// step sets by how many seconds the wall clock is ahead.
func (p *steppedProxy) step(seconds int64) {
	_, err := p.clock.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(seconds)), 0)
	kit.Must(err, "the clock")
}

// checkStreams: requests in flight go on, and their durations in the metrics are right.
func (p *steppedProxy) checkStreams(key string) {
	running := p.streams(key, 10)
	for _, by := range steps {
		p.step(by)
		p.expectStatus(key, http.StatusOK, "a key without an end")
		time.Sleep(5 * pace)
	}
	for _, s := range running {
		if !s.whole() {
			kit.Fatal("a stream while the clock was stepped: %s", s)
		}
	}
	for _, histogram := range []string{"request_duration_seconds", "time_to_first_byte_seconds", "inter_chunk_seconds", "overhead_seconds"} {
		sum := p.Metric("ollama_proxy_" + histogram + `_sum{route="/api/chat"}`)
		if histogram == "overhead_seconds" {
			sum = p.Metric("ollama_proxy_" + histogram + "_sum")
		}
		if math.IsNaN(sum) || sum < 0 || sum > 10*kit.Timeout.Seconds() {
			kit.Fatal("while the clock was stepped, %s add up to %v", histogram, sum)
		}
	}
	kit.Pass("%d steps of the wall clock, of up to 40 years: %d streams whole, no time in the metrics longer than it was", len(steps), len(running))
}

// checkTimeout: the time limit for the first byte is kept.
func (p *steppedProxy) checkTimeout(key string) {
	p.step(0)
	from := time.Now()
	status := make(chan int)
	go func() {
		r, err := http.NewRequest(http.MethodPost, "http://"+p.Address+"/api/chat", strings.NewReader(`{"model":"hang"}`))
		kit.Must(err, "a request")
		r.Header.Set("Authorization", "Bearer "+key)
		res, err := client.Do(r)
		kit.Must(err, "a request to an Ollama that is silent")
		res.Body.Close()
		status <- res.StatusCode
	}()
	for _, by := range steps {
		p.step(by)
		time.Sleep(5 * pace)
	}
	if code, took := <-status, time.Since(from); code != http.StatusGatewayTimeout || took < 3*time.Second || took > kit.Timeout/2 {
		kit.Fatal("an Ollama that was silent while the clock was stepped: status %d after %s, not 504 after 3s", code, kit.Seconds(took))
	}
	p.expectMetric(`ollama_proxy_upstream_errors_total{kind="timeout",upstream="`+ollama+`"}`, 1)
	p.expectMetric(`ollama_proxy_requests_total{code="504",method="POST",route="/api/chat"}`, 1)
	p.expectLog(0, 1, `"level":"INFO","msg":"request"`, `"status":504`, `"outcome":"stalled"`)
	kit.Pass("a limit of 3s for the first byte runs out after %s", kit.Seconds(time.Since(from)))
}

// checkRateLimit: a rate limit refills with the time that passes, not with the clock.
func (p *steppedProxy) checkRateLimit() {
	p.step(0)
	frugal := p.mint("--rpm", "2")
	p.expectStatus(frugal, http.StatusOK, "the first of two requests")
	p.step(hour)
	p.expectStatus(frugal, http.StatusOK, "the second of two requests")
	for _, by := range steps {
		p.step(by)
		p.expectStatus(frugal, http.StatusTooManyRequests, "a third request in a minute, however the clock is stepped")
	}
	p.expectMetric(`ollama_proxy_refusals_total{reason="rpm"}`, float64(len(steps)))
	p.expectLog(0, len(steps), `"level":"INFO","msg":"request"`, `"status":429`, `"outcome":"refused","reason":"rpm"`)
	kit.Pass("a step refills no budget of requests")
}

// checkExpiry: a key expires when the clock reaches its date.
func (p *steppedProxy) checkExpiry() {
	p.step(0)
	brief := p.mint("--expires-in", "30m")
	expired := 0
	for _, by := range append(steps, 1799, 1801, 1799) {
		p.step(by)
		want := http.StatusOK
		if by >= 30*60 {
			want = http.StatusUnauthorized
			expired++
		}
		p.expectStatus(brief, want, "a key for half an hour, the clock stepped by "+strconv.FormatInt(by, 10)+"s")
	}
	p.expectMetric(`ollama_proxy_refusals_total{reason="expired"}`, float64(expired))
	p.expectLog(0, expired, `"level":"INFO","msg":"request"`, `"status":401`, `"outcome":"refused","reason":"expired"`)
	kit.Pass("a key ends when the clock says so, and begins again when it was stepped too far")
}

// checkRevocations: a revocation is read at the next reload, also if the file's time is in the
// future or long ago.
func (p *steppedProxy) checkRevocations() {
	for _, by := range steps {
		p.step(by)
		victim := p.mint()
		p.expectStatus(victim, http.StatusOK, "a key that is not revoked yet")
		kit.Command("revoke", "--revocations", p.list, victim)
		kit.Await("a revocation after the clock was stepped", func() bool {
			status, _, err := get("http://"+p.Address+"/api/version", victim)
			return err == nil && status == http.StatusUnauthorized
		})
	}
	p.expectMetric("ollama_proxy_revocations", float64(len(steps)))
	p.expectLog(0, 0, `"level":"ERROR"`)
	p.Stop()
	p.checkLoggedDurations()
	kit.Pass("%d revocations seen, each after a step", len(steps))
}

// checkLoggedDurations ends the program if the log has a duration that no request can have
// had.
func (p *steppedProxy) checkLoggedDurations() {
	for line := range strings.Lines(p.Logged()) {
		var entry struct {
			Msg      string
			Duration float64 `json:"duration_seconds"`
			First    float64 `json:"first_byte_seconds"`
		}
		if !strings.HasPrefix(line, "{") {
			continue
		}
		kit.Must(json.Unmarshal([]byte(line), &entry), "a line of the log")
		if entry.Msg == "request" && (entry.Duration <= 0 || entry.Duration > kit.Timeout.Seconds() || entry.First < 0 || entry.First > entry.Duration) {
			kit.Fatal("while the clock was stepped, the log has a wrong duration: %s", line)
		}
	}
}
