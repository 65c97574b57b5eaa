//go:build unix

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// startUpstream starts an Ollama that answers asks, and returns its address.
func startUpstream(nice int) string {
	r, w, err := os.Pipe()
	kit.Must(err, "a pipe")
	self, err := os.Executable()
	kit.Must(err, "this program")
	kit.Start("upstream", func(c *exec.Cmd) { c.Stdout = w }, self, kit.Dir, "upstream").Nice(nice)
	w.Close()
	line, err := bufio.NewReader(r).ReadString('\n')
	kit.Must(err, "the upstream's address")
	return strings.TrimSpace(line)
}

// A proxy is a running `ollama-proxy serve`.
type proxy struct{ *kit.Proxy }

// launch starts a proxy, with a nice value, and waits until it serves.
func launch(nice int, name string, args ...string) *proxy {
	return &proxy{kit.Serve(name, nil, append([]string{"--secret-file", secret()}, args...)...).Nice(nice).AwaitServing()}
}

// A state is the resources that a proxy uses when no request is in flight.
type state struct {
	goroutines, files, heap float64
	resident                float64
}

// connectionsTo counts the proxy's idle connections to an address: it keeps up to 1,024, for
// 90 seconds.
func connectionsTo(address string) (n float64) {
	_, port, _ := strings.Cut(address, ":")
	for line := range strings.Lines(kit.ReadFile("/proc/net/tcp")) {
		fields := strings.Fields(line)
		if strings.HasSuffix(fields[2], fmt.Sprintf(":%04X", kit.Atoi(port))) && fields[9] != "0" { // a process has it open
			n++
		}
	}
	return n
}

// settled waits until no request is in flight and nothing changes any more, makes the proxy
// collect garbage by requesting its metrics, and returns its state.
func (p *proxy) settled() (s state) {
	for still := 0; still < 10; time.Sleep(50 * time.Millisecond) {
		now := state{goroutines: p.Metric("go_goroutines"), files: p.Metric("process_open_fds")}
		if now == s && p.Metric("ollama_proxy_in_flight_requests") == 0 {
			still++
		} else {
			s, still = now, 0
		}
	}
	for range 2 {
		last := p.Metric("go_memstats_last_gc_time_seconds")
		for end := time.Now().Add(3 * time.Minute); p.Metric("go_memstats_last_gc_time_seconds") == last; {
			if time.Now().After(end) {
				kit.Fatal("%s does not collect garbage", p.Name)
			}
		}
	}
	s.heap = p.Metric("go_memstats_next_gc_bytes") / (1 + p.Metric("go_gc_gogc_percent")/100)
	s.resident = p.Metric("process_resident_memory_bytes")
	return s
}

func secret() string { return filepath.Join(kit.Dir, "secret") }

// mint makes a key, and the secret if it does not exist yet.
func mint(args ...string) string {
	if _, err := os.Stat(secret()); err != nil {
		kit.Command("secret", "--out", secret())
	}
	return kit.Command(append([]string{"mint", "--secret-file", secret()}, args...)...)
}

func tail(text string) string { return text[max(0, len(text)-2000):] }
