//go:build ignore

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// nice gives a process that was just started a nice value, which is lower than
// others' if it is to be measured. It need not be: that is root's privilege.
func (p *process) nice(value int) *process {
	syscall.Setpriority(syscall.PRIO_PROCESS, p.Process.Pid, value)
	return p
}

// startUpstream starts an Ollama that answers asks, and gives its address.
func startUpstream(nice int) string {
	r, w, err := os.Pipe()
	must(err, "a pipe")
	self, err := os.Executable()
	must(err, "this program")
	begin("upstream", func(c *exec.Cmd) { c.Stdout = w }, self, dir, "upstream").nice(nice)
	w.Close()
	line, err := bufio.NewReader(r).ReadString('\n')
	must(err, "the upstream's address")
	return strings.TrimSpace(line)
}

// launch starts a proxy, with a nice value, and waits until it serves.
func launch(nice int, name string, args ...string) *proxy {
	return serve(name, nil, append([]string{"--secret-file", secret()}, args...)...).nice(nice).serving()
}

// A state is what a proxy has, when nothing runs.
type state struct {
	goroutines, files, heap float64
	resident                float64
}

// connectionsTo counts the proxy's connections to an address that are idle: it
// keeps up to 1,024, for 90 seconds.
func connectionsTo(address string) (n float64) {
	_, port, _ := strings.Cut(address, ":")
	for line := range strings.Lines(read("/proc/net/tcp")) {
		fields := strings.Fields(line)
		if strings.HasSuffix(fields[2], fmt.Sprintf(":%04X", atoi(port))) && fields[9] != "0" { // one that some process has
			n++
		}
	}
	return n
}

// settled waits until no request is in flight, and nothing changes any more, and
// has garbage collected: a look at the metrics makes some.
func (p *proxy) settled() (s state) {
	for still := 0; still < 10; time.Sleep(50 * time.Millisecond) {
		now := state{goroutines: p.metric("go_goroutines"), files: p.metric("process_open_fds")}
		if now == s && p.metric("ollama_proxy_in_flight_requests") == 0 {
			still++
		} else {
			s, still = now, 0
		}
	}
	for range 2 {
		last := p.metric("go_memstats_last_gc_time_seconds")
		for end := time.Now().Add(3 * time.Minute); p.metric("go_memstats_last_gc_time_seconds") == last; {
			if time.Now().After(end) {
				fatal("%s never collects garbage", p.name)
			}
		}
	}
	s.heap = p.metric("go_memstats_next_gc_bytes") / (1 + p.metric("go_gc_gogc_percent")/100)
	s.resident = p.metric("process_resident_memory_bytes")
	return s
}

// peak is the most memory that a process has had.
func (p *process) peak() float64 { return p.memory("VmHWM") }

// resident is how much memory a process has now.
func (p *process) resident() float64 { return p.memory("VmRSS") }

func (p *process) memory(what string) float64 {
	m := regexp.MustCompile(what + `:\s+(\d+) kB`).FindStringSubmatch(read(fmt.Sprintf("/proc/%d/status", p.Process.Pid)))
	if m == nil {
		fatal("/proc does not tell of memory")
	}
	return float64(atoi(m[1])) * 1024
}

func secret() string { return filepath.Join(dir, "secret") }

// mint makes a key, and the secret if there is none yet.
func mint(args ...string) string {
	if _, err := os.Stat(secret()); err != nil {
		command("secret", "--out", secret())
	}
	return command(append([]string{"mint", "--secret-file", secret()}, args...)...)
}

func tail(text string) string { return text[max(0, len(text)-2000):] }
