//go:build unix

// Package kit is what more than one of the programs of deploy/e2e needs. The end
// of what such a program has started is for whoever runs it.
package kit

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
	Dir      string             // of a check's files, with the built ollama-proxy
	Patience = 20 * time.Second // for what has no limit of its own
	Began    = time.Now()
	taken    []string // addresses
)

func Pass(format string, a ...any) { fmt.Printf("ok    "+format+"\n", a...) }
func Note(format string, a ...any) { fmt.Printf("      "+format+"\n", a...) }

func Must(err error, format string, a ...any) {
	if err != nil {
		Fatal("%s: %v", fmt.Sprintf(format, a...), err)
	}
}

func Fatal(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "FAILED after %s: "+format+"\n", append([]any{Seconds(time.Since(Began))}, a...)...)
	os.Exit(1)
}

func Seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }

// await polls until it is so, and fails if that takes too long. It gives how long
// it took.
func Await(what string, so func() bool) time.Duration { return AwaitWithin(Patience, what, so) }

// awaitWithin does so with another limit.
func AwaitWithin(limit time.Duration, what string, so func() bool) time.Duration {
	from := time.Now()
	for ; !so(); time.Sleep(10 * time.Millisecond) {
		if time.Since(from) > limit {
			Fatal("waited %s in vain for %s", Seconds(limit), what)
		}
	}
	return time.Since(from)
}

// command runs ollama-proxy and gives what it prints.
func Command(args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(Dir, "ollama-proxy"), args...)
	var talk bytes.Buffer
	c.Env, c.Stderr = Environment(), &talk
	out, err := c.Output()
	Must(err, "ollama-proxy %s: %s", args[0], talk.String())
	return strings.TrimSpace(string(out))
}

// environment is ours without what would set the proxy's flags.
func Environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OLLAMA_") })
}

// freeAddress is free, and below the ports that connections are given: nothing
// takes it while whoever has it is dead.
func FreeAddress() string {
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
	Fatal("there is no free port")
	return ""
}

func ReadFile(path string) string {
	text, err := os.ReadFile(path)
	Must(err, "reading")
	return string(text)
}

func WriteFile(path, text string) { Must(os.WriteFile(path, []byte(text), 0o600), "writing") }

// fetch gets a page, with its status, which is 0 if there is none.
func Fetch(url string) (status int, page string) {
	res, err := (&http.Client{Timeout: Patience}).Get(url)
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
func Listen(address string, somebody http.Handler) string {
	l, err := net.Listen("tcp", address)
	Must(err, "listening")
	go http.Serve(l, somebody)
	return l.Addr().String()
}

// shippedHAProxy writes a configuration: that of deploy/, with other servers and
// with what else is changed in it, and gives the file's path.
func HAProxyConfig(servers string, changes ...[2]string) string {
	config := ReadFile("deploy/haproxy/haproxy.cfg")
	for _, change := range append(changes,
		[2]string{`maxconn \d+`, `maxconn 500`}, // of the files that this machine allows
		[2]string{` +server-template .*\n`, servers},
	) {
		old := regexp.MustCompile(change[0])
		if n := len(old.FindAllString(config, -1)); n != 1 {
			Fatal("haproxy.cfg has %q %d times", change[0], n)
		}
		config = old.ReplaceAllLiteralString(config, change[1])
	}
	file := filepath.Join(Dir, "haproxy.cfg")
	WriteFile(file, config)
	return file
}

// A process is one that this one has started, and that is not to end by itself.
// What it prints is in a log.
type Child struct {
	*exec.Cmd
	Name, LogFile string
	from          int64         // where it begins in the log, which others of its name have, too
	Ending        atomic.Bool   // it is to end
	Gone          chan struct{} // closed at its end
}

// begin starts a program, after a change to how, if there is any.
func Start(name string, change func(*exec.Cmd), program string, args ...string) *Child {
	p := &Child{Name: name, LogFile: filepath.Join(Dir, name+".log"), Gone: make(chan struct{})}
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	Must(err, "a log")
	defer log.Close()
	p.from, err = log.Seek(0, io.SeekEnd)
	Must(err, "a log")
	p.Cmd = exec.Command(program, args...)
	p.Env, p.Stdout, p.Stderr = Environment(), log, log
	if change != nil {
		change(p.Cmd)
	}
	Must(p.Start(), "starting %s", name)
	go func() {
		p.Wait()
		close(p.Gone)
		if !p.Ending.Load() {
			Fatal("%s has ended by itself: %s", name, p.ProcessState)
		}
	}()
	return p
}

// said is its log so far.
func (p *Child) Logged() string { return ReadFile(p.LogFile)[p.from:] }

// cpu is how long it has been on a processor.
func (p *Child) CPU() time.Duration {
	_, rest, _ := strings.Cut(ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid)), ") ")
	fields := strings.Fields(rest)
	return time.Duration(Atoi(fields[11])+Atoi(fields[12])) * 10 * time.Millisecond // user and system time
}

// peak is the most memory that a process has had.
func (p *Child) Peak() float64 { return p.memory("VmHWM") }

// resident is how much memory a process has now.
func (p *Child) Resident() float64 { return p.memory("VmRSS") }

func (p *Child) memory(what string) float64 {
	m := regexp.MustCompile(what + `:\s+(\d+) kB`).FindStringSubmatch(ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid)))
	if m == nil {
		Fatal("/proc does not tell of memory")
	}
	return float64(Atoi(m[1])) * 1024
}

// atoi is for what is a number.
func Atoi(s string) int {
	n, err := strconv.Atoi(s)
	Must(err, "a number")
	return n
}

// nice gives a process that was just started a nice value, which is lower than
// others' if it is to be measured. It need not be: that is root's privilege.
func (p *Child) Nice(value int) *Child {
	syscall.Setpriority(syscall.PRIO_PROCESS, p.Process.Pid, value)
	return p
}

// stop ends it by SIGTERM, and gives how long that took.
func (p *Child) Stop() time.Duration {
	from := time.Now()
	p.Terminate()
	p.AwaitEnd()
	return time.Since(from)
}

// terminate sends SIGTERM.
func (p *Child) Terminate() {
	p.Ending.Store(true)
	Must(p.Process.Signal(syscall.SIGTERM), "SIGTERM to %s", p.Name)
}

// ended waits for its end, which is to be a good one.
func (p *Child) AwaitEnd() {
	select {
	case <-p.Gone:
	case <-time.After(Patience):
		Fatal("%s does not end", p.Name)
	}
	if !p.ProcessState.Success() {
		Fatal("%s ended with %s", p.Name, p.ProcessState)
	}
}

// kill ends it by SIGKILL, if it has not ended before.
func (p *Child) Kill() {
	p.Ending.Store(true)
	if err := p.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		Must(err, "SIGKILL to %s", p.Name)
	}
	<-p.Gone
}

// A proxy is one running `ollama-proxy serve`, and where.
type Proxy struct {
	*Child
	Address, Metrics string
}

// serve starts a process that is to become a proxy, likewise.
func Serve(name string, change func(*exec.Cmd), args ...string) *Child {
	return Start(name, change, filepath.Join(Dir, "ollama-proxy"),
		append([]string{"serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}, args...)...)
}

var addresses = regexp.MustCompile(`serving"?[ ,]"?address"?[=:]"?([^\s"]+)"?[ ,]"?metrics"?[=:]"?([^\s"]+)`)

// serving waits until it has become one.
func (p *Child) AwaitServing() *Proxy {
	var m []string
	Await(p.Name+" to serve", func() bool {
		m = addresses.FindStringSubmatch(p.Logged())
		return m != nil
	})
	return &Proxy{p, m[1], m[2]}
}

// metric is the sum of a metric's series: see scrape.
func (p *Proxy) Metric(name string, labels ...string) float64 {
	return ScrapeOf(p.Metrics).Sum(name, labels...)
}

// A scrape is the metrics of a proxy at one moment, as they stand.
type Scrape string

// scrapeOf gets those at an address.
func ScrapeOf(address string) Scrape {
	status, page := Fetch("http://" + address + "/metrics")
	if status != http.StatusOK {
		Fatal("the metrics at %s: status %d", address, status)
	}
	return Scrape(page)
}

// values are those of a metric's series that have all of the labels, or of the
// one series that the name is of, with its labels.
func (s Scrape) Values(name string, labels ...string) (values []string) {
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
func (s Scrape) Sum(name string, labels ...string) float64 {
	values, sum := s.Values(name, labels...), 0.0
	for _, text := range values {
		value, err := strconv.ParseFloat(text, 64)
		Must(err, "%s in the metrics", name)
		sum += value
	}
	if values == nil {
		return math.NaN()
	}
	return sum
}

// one is the value of a metric without labels, as it stands.
func (s Scrape) One(name string) string {
	values := s.Values(name)
	if len(values) != 1 {
		Fatal("the metrics have %d values of %s", len(values), name)
	}
	return values[0]
}
