//go:build ignore

package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// A process is one that this one has started, and that ends with it.
type process struct {
	*exec.Cmd
	name, log string
	doomed    atomic.Bool   // it is to end
	gone      chan struct{} // closed at its end
}

// begin starts a process, whose nice value is lower than others' if it is to be
// measured. It need not be: that is root's privilege.
func begin(name string, nice int, env []string, out io.Writer, path string, args ...string) *process {
	return beginFrom(nil, name, nice, env, out, path, args...)
}

// beginFrom starts one that has an input.
func beginFrom(in io.Reader, name string, nice int, env []string, out io.Writer, path string, args ...string) *process {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), gone: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	must(err, "a log")
	defer log.Close()
	p.Cmd = exec.Command(path, args...)
	p.Env, p.Stdin, p.Stdout, p.Stderr = append(environment(), env...), in, log, log
	if out != nil {
		p.Stdout = out
	}
	must(p.Start(), "starting %s", name)
	syscall.Setpriority(syscall.PRIO_PROCESS, p.Process.Pid, nice)
	go func() {
		p.Wait()
		close(p.gone)
		if !p.doomed.Load() {
			fatal("%s has ended by itself: %s", name, tail(p.said()))
		}
	}()
	return p
}

// said is the log so far.
func (p *process) said() string { return read(p.log) }

// startUpstream starts an Ollama that answers asks, and gives its address.
func startUpstream(nice int) string {
	r, w, err := os.Pipe()
	must(err, "a pipe")
	self, err := os.Executable()
	must(err, "this program")
	begin("upstream", nice, nil, w, self, dir, "upstream")
	w.Close()
	line, err := bufio.NewReader(r).ReadString('\n')
	must(err, "the upstream's address")
	return strings.TrimSpace(line)
}

// A proxy is one running `ollama-proxy serve`.
type proxy struct {
	*process
	address, metrics string
}

var serving = regexp.MustCompile(`msg=serving address=(\S+) metrics=(\S+)`)

// serve starts a proxy and waits until it serves.
func serve(name string, nice int, args ...string) *proxy {
	p := &proxy{process: begin(name, nice, nil, nil, filepath.Join(dir, "ollama-proxy"),
		append([]string{"serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--secret-file", secret()}, args...)...)}
	await(name+" to serve", func() bool {
		m := serving.FindStringSubmatch(p.said())
		if m != nil {
			p.address, p.metrics = m[1], m[2]
		}
		return m != nil
	})
	return p
}

// stop ends it by SIGTERM.
func (p *proxy) stop() {
	p.doomed.Store(true)
	p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(2 * patience):
		fatal("%s does not end", p.name)
	}
	if code := p.ProcessState.ExitCode(); code != 0 {
		fatal("%s ended with exit %d: %s", p.name, code, tail(p.said()))
	}
}

// metric is the sum of a metric's series that have all of the labels.
func (p *proxy) metric(name string, labels ...string) float64 {
	res, err := http.Get("http://" + p.metrics + "/metrics")
	must(err, "the metrics of %s", p.name)
	defer res.Body.Close()
	sum, found := 0.0, false
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), " ")
		family, of, _ := strings.Cut(series, "{")
		if family != name || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(of, l) }) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		must(err, "%s in the metrics", series)
		sum, found = sum+v, true
	}
	if !found {
		return math.NaN()
	}
	return sum
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
func (p *process) peak() float64 {
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(read(fmt.Sprintf("/proc/%d/status", p.Process.Pid)))
	if m == nil {
		fatal("/proc does not tell of memory")
	}
	return float64(atoi(m[1])) * 1024
}

// cpu is how long the process has been on a processor.
func (p *process) cpu() time.Duration {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.Process.Pid) + "/stat")
	must(err, "/proc")
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	return time.Duration(atoi(fields[11])+atoi(fields[12])) * 10 * time.Millisecond // user and system time
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
