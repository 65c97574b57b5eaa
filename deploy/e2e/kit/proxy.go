//go:build unix

package kit

import (
	"os/exec"
	"path/filepath"
	"regexp"
)

// A Proxy is a running `ollama-proxy serve`. Address is that of its public listener, Metrics
// that of its private one, both as host:port.
type Proxy struct {
	*Child
	Address, Metrics string
}

// Serve starts `ollama-proxy serve` with the arguments, on free loopback ports by default. It
// does not wait until the proxy serves: see [Child.AwaitServing]. If change is not nil, it may
// change the command first.
func Serve(name string, change func(*exec.Cmd), args ...string) *Child {
	return Start(name, change, filepath.Join(Dir, "ollama-proxy"),
		append([]string{"serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}, args...)...)
}

// addresses matches both addresses in the log, as text or as JSON.
var addresses = regexp.MustCompile(`serving"?[ ,]"?address"?[=:]"?([^\s"]+)"?[ ,]"?metrics"?[=:]"?([^\s"]+)`)

// AwaitServing waits until a child that [Serve] has started logs that it serves,
// and returns it with its addresses.
func (p *Child) AwaitServing() *Proxy {
	var m []string
	Await(p.Name+" to serve", func() bool {
		m = addresses.FindStringSubmatch(p.Logged())
		return m != nil
	})
	return &Proxy{p, m[1], m[2]}
}

// Metric gets the proxy's metrics and returns [Scrape.Sum] of them.
func (p *Proxy) Metric(name string, labels ...string) float64 {
	return ScrapeOf(p.Metrics).Sum(name, labels...)
}
