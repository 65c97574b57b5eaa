//go:build ignore

// What more than one check needs: .ci/pool and others build it together with
// their own files. The end of what a check has started is for whoever runs it.

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
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

var (
	dir      string             // of a check's files, with the built ollama-proxy
	patience = 20 * time.Second // for what has no limit of its own
	began    = time.Now()
	taken    []string // addresses
)

func pass(format string, a ...any) { fmt.Printf("ok    "+format+"\n", a...) }
func note(format string, a ...any) { fmt.Printf("      "+format+"\n", a...) }

func must(err error, format string, a ...any) {
	if err != nil {
		fatal("%s: %v", fmt.Sprintf(format, a...), err)
	}
}

func fatal(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "FAILED after %s: "+format+"\n", append([]any{seconds(time.Since(began))}, a...)...)
	os.Exit(1)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }

// await polls until it is so, and fails if that takes too long. It gives how long
// it took.
func await(what string, so func() bool) time.Duration { return awaitWithin(patience, what, so) }

// awaitWithin does so with another limit.
func awaitWithin(limit time.Duration, what string, so func() bool) time.Duration {
	from := time.Now()
	for ; !so(); time.Sleep(10 * time.Millisecond) {
		if time.Since(from) > limit {
			fatal("waited %s in vain for %s", seconds(limit), what)
		}
	}
	return time.Since(from)
}

// command runs ollama-proxy and gives what it prints.
func command(args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(dir, "ollama-proxy"), args...)
	var talk bytes.Buffer
	c.Env, c.Stderr = environment(), &talk
	out, err := c.Output()
	must(err, "ollama-proxy %s: %s", args[0], talk.String())
	return strings.TrimSpace(string(out))
}

// environment is ours without what would set the proxy's flags.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OLLAMA_") })
}

// freeAddress is free, and below the ports that connections are given: nothing
// takes it while whoever has it is dead.
func freeAddress() string {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if slices.Contains(taken, address) {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			taken = append(taken, address)
			return address
		}
	}
	fatal("there is no free port")
	return ""
}

func read(path string) string {
	text, err := os.ReadFile(path)
	must(err, "reading")
	return string(text)
}

func write(path, text string) { must(os.WriteFile(path, []byte(text), 0o600), "writing") }

// fetch gets a page, with its status, which is 0 if there is none.
func fetch(url string) (status int, page string) {
	res, err := (&http.Client{Timeout: patience}).Get(url)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, ""
	}
	return res.StatusCode, string(text)
}

// listen has somebody, such as a stand-in for Ollama, serve at an address, which it
// gives: the port may be 0.
func listen(address string, somebody http.Handler) string {
	l, err := net.Listen("tcp", address)
	must(err, "listening")
	go http.Serve(l, somebody)
	return l.Addr().String()
}

// shippedHAProxy writes a configuration: that of deploy/, with other servers and
// with what else is changed in it, and gives the file's path.
func shippedHAProxy(servers string, changes ...[2]string) string {
	config := read("deploy/haproxy/haproxy.cfg")
	for _, change := range append(changes,
		[2]string{`maxconn \d+`, `maxconn 500`}, // of the files that this machine allows
		[2]string{` +server-template .*\n`, servers},
	) {
		old := regexp.MustCompile(change[0])
		if n := len(old.FindAllString(config, -1)); n != 1 {
			fatal("haproxy.cfg has %q %d times", change[0], n)
		}
		config = old.ReplaceAllLiteralString(config, change[1])
	}
	file := filepath.Join(dir, "haproxy.cfg")
	write(file, config)
	return file
}

// A process is one that this one has started, and that is not to end by itself.
// What it prints is in a log.
type process struct {
	*exec.Cmd
	name, log string
	from      int64         // where it begins in the log, which others of its name have, too
	doomed    atomic.Bool   // it is to end
	gone      chan struct{} // closed at its end
}

// begin starts a program, after a change to how, if there is any.
func begin(name string, change func(*exec.Cmd), program string, args ...string) *process {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), gone: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(err, "a log")
	defer log.Close()
	p.from, err = log.Seek(0, io.SeekEnd)
	must(err, "a log")
	p.Cmd = exec.Command(program, args...)
	p.Env, p.Stdout, p.Stderr = environment(), log, log
	if change != nil {
		change(p.Cmd)
	}
	must(p.Start(), "starting %s", name)
	go func() {
		p.Wait()
		close(p.gone)
		if !p.doomed.Load() {
			fatal("%s has ended by itself: %s", name, p.ProcessState)
		}
	}()
	return p
}

// said is its log so far.
func (p *process) said() string { return read(p.log)[p.from:] }

// cpu is how long it has been on a processor.
func (p *process) cpu() time.Duration {
	_, rest, _ := strings.Cut(read(fmt.Sprintf("/proc/%d/stat", p.Process.Pid)), ") ")
	fields := strings.Fields(rest)
	return time.Duration(atoi(fields[11])+atoi(fields[12])) * 10 * time.Millisecond // user and system time
}

// atoi is for what is a number.
func atoi(s string) int {
	n, err := strconv.Atoi(s)
	must(err, "a number")
	return n
}

// stop ends it by SIGTERM, and gives how long that took.
func (p *process) stop() time.Duration {
	from := time.Now()
	p.terminate()
	p.ended()
	return time.Since(from)
}

// terminate sends SIGTERM.
func (p *process) terminate() {
	p.doomed.Store(true)
	must(p.Process.Signal(syscall.SIGTERM), "SIGTERM to %s", p.name)
}

// ended waits for its end, which is to be a good one.
func (p *process) ended() {
	select {
	case <-p.gone:
	case <-time.After(patience):
		fatal("%s does not end", p.name)
	}
	if !p.ProcessState.Success() {
		fatal("%s ended with %s", p.name, p.ProcessState)
	}
}

// kill ends it by SIGKILL, if it has not ended before.
func (p *process) kill() {
	p.doomed.Store(true)
	if err := p.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		must(err, "SIGKILL to %s", p.name)
	}
	<-p.gone
}

// A proxy is one running `ollama-proxy serve`, and where.
type proxy struct {
	*process
	address, metrics string
}

// serve starts a process that is to become a proxy, likewise.
func serve(name string, change func(*exec.Cmd), args ...string) *process {
	return begin(name, change, filepath.Join(dir, "ollama-proxy"),
		append([]string{"serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}, args...)...)
}

var addresses = regexp.MustCompile(`serving"?[ ,]"?address"?[=:]"?([^\s"]+)"?[ ,]"?metrics"?[=:]"?([^\s"]+)`)

// serving waits until it has become one.
func (p *process) serving() *proxy {
	var m []string
	await(p.name+" to serve", func() bool {
		m = addresses.FindStringSubmatch(p.said())
		return m != nil
	})
	return &proxy{p, m[1], m[2]}
}

// metric is the sum of a metric's series: see scrape.
func (p *proxy) metric(name string, labels ...string) float64 {
	return scrapeOf(p.metrics).sum(name, labels...)
}

// A scrape is the metrics of a proxy at one moment, as they stand.
type scrape string

// scrapeOf gets those at an address.
func scrapeOf(address string) scrape {
	status, page := fetch("http://" + address + "/metrics")
	if status != http.StatusOK {
		fatal("the metrics at %s: status %d", address, status)
	}
	return scrape(page)
}

// values are those of a metric's series that have all of the labels, or of the
// one series that the name is of, with its labels.
func (s scrape) values(name string, labels ...string) (values []string) {
	for line := range strings.Lines(string(s)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		family, of, _ := strings.Cut(series, "{")
		if (family == name || series == name) && !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(of, l) }) {
			values = append(values, value)
		}
	}
	return values
}

// sum is that of the values, and NaN if there are none.
func (s scrape) sum(name string, labels ...string) float64 {
	values, sum := s.values(name, labels...), 0.0
	for _, text := range values {
		value, err := strconv.ParseFloat(text, 64)
		must(err, "%s in the metrics", name)
		sum += value
	}
	if values == nil {
		return math.NaN()
	}
	return sum
}
