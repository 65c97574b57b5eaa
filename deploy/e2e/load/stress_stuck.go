//go:build unix

package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	// hangs is the time after which a request counts as hanging. Others take a few
	// milliseconds, or some hundred on a busy machine.
	hangs = 2 * time.Second

	lookEvery = 50 * time.Millisecond
)

// A watch checks the requests of all clients at intervals, and ends the program if one
// hangs. It counts its checks, not the time: while the machine itself stands still, no
// request counts as hanging.
type watch struct {
	proxy    *proxy
	upstream string

	mu   sync.Mutex
	asks [stressers]ask // N is 0: none
	seen [stressers]int // checks that have found the same ask
}

func newWatch(p *proxy, upstream string) *watch {
	w := &watch{proxy: p, upstream: upstream}
	go func() {
		for range time.Tick(lookEvery) {
			w.look()
		}
	}()
	return w
}

func (w *watch) begin(i int, q ask) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asks[i], w.seen[i] = q, 0
}

func (w *watch) end(i int) { w.begin(i, ask{}) }

func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, q := range w.asks {
		if q.N == 0 {
			continue
		}
		if w.seen[i]++; w.seen[i] > int(hangs/lookEvery) {
			w.stuck(q)
		}
	}
}

// stuck prints the stacks of all goroutines of both processes, and the bytes queued in the
// sockets between them. The proxy prints its stacks on SIGQUIT, which ends it.
func (w *watch) stuck(q ask) {
	sockets := w.sockets()
	w.proxy.Ending.Store(true)
	w.proxy.Process.Signal(syscall.SIGQUIT)
	select {
	case <-w.proxy.Gone:
	case <-time.After(kit.Timeout):
	}
	own := make([]byte, 4<<20)
	own = own[:runtime.Stack(own, true)]
	fmt.Fprintf(os.Stderr, "The proxy's log, with its goroutines:\n%s\n\nGoroutines of clients and Ollama:\n%s\n\nSockets:\n%s\n", w.proxy.Logged(), own, sockets)
	kit.Fatal("request %d to %s hangs: it takes more than %s; %v, the client %v; a body of %d bytes, %d events", q.N, q.Path, kit.Seconds(hangs), q.mood(), q.leaving(), len(q.body()), q.Events)
}

// sockets lists the connections to the proxy and to Ollama, both ends of each.
func (w *watch) sockets() string {
	var all strings.Builder
	for i, line := range strings.Split(kit.ReadFile("/proc/net/tcp"), "\n") {
		fields := strings.Fields(line)
		if i == 0 || len(fields) < 5 {
			continue
		}
		from, to := portIn(fields[1]), portIn(fields[2])
		of := ""
		for port, name := range map[string]string{portOf(w.proxy.Address): "proxy", portOf(w.upstream): "Ollama"} {
			if from == port || to == port {
				of = name
			}
		}
		if of == "" || stateIn(fields[3]) == "time wait" { // over on both sides
			continue
		}
		var unacknowledged, unread uint64
		fmt.Sscanf(fields[4], "%x:%x", &unacknowledged, &unread)
		fmt.Fprintf(&all, "%s: %s > %s, %s, %d bytes not read, %d not acknowledged\n", of, from, to, stateIn(fields[3]), unread, unacknowledged)
	}
	return all.String()
}

func portOf(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// portIn returns the port of an address in /proc/net/tcp.
func portIn(address string) string {
	var port int
	fmt.Sscanf(portOf(address), "%x", &port)
	return fmt.Sprint(port)
}

// stateIn returns the name of a connection's state in /proc/net/tcp.
func stateIn(number string) string {
	var n int
	fmt.Sscanf(number, "%x", &n)
	names := []string{"", "established", "syn sent", "syn received", "fin wait 1", "fin wait 2", "time wait", "closed", "close wait", "last ack", "listening", "closing"}
	if n < len(names) {
		return names[n]
	}
	return "state " + number
}
