//go:build unix

// Command haproxy tries deploy/haproxy/haproxy.cfg, with other addresses in it,
// before three replicas: chunks pass one by one, a key stays with its replica,
// a replica that drains or dies costs nothing, and what clients say of their
// address does not count. It is run by .ci/deploy with a directory for its
// files, which holds a certificate and the built ollama-proxy; $HAPROXY may
// name another haproxy.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

const (
	held   = 100 * time.Millisecond
	client = "127.0.0.2" // where clients are; HAProxy and the replicas are at 127.0.0.1
	chat   = `{"model":"llama3.2","stream":true,"max_tokens":60,"messages":[{"role":"user","content":"Why is the sky blue?"}]}`
)

var (
	ollama   = newUpstream()
	replicas []*replica
	front    string // HAProxy's addresses
	frontTLS string
	health   string
	log      haproxyLog
	plain    = &http.Client{Transport: transport(nil)}
)

func main() {
	if len(os.Args) != 2 {
		kit.Fatal("run .ci/deploy instead")
	}
	kit.Dir = os.Args[1]
	start()
	slow, began := slowHead()
	checkChunks()
	checkAffinity()
	checkAddress()
	checkLeaving()
	checkDrain()
	checkDeath()
	checkSlowHead(slow, began)
	checkHealth()
}

// checkChunks: each chunk arrives before the next one is sent, and soon. Without
// http-no-delay it waits 200 ms for more.
func checkChunks() {
	key := mint()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(kit.ReadFile(filepath.Join(kit.Dir, "tls.crt"))))
	over := &http.Client{Transport: transport(&tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})}
	for _, way := range []struct {
		name, url string
		client    *http.Client
	}{
		{"HTTP/1.1", "http://" + front, plain},
		{"HTTP/2.0", "https://" + frontTLS, over},
	} {
		for _, path := range []string{"/v1/chat/completions", "/api/chat", "/v1/messages"} {
			ctx, leave := context.WithTimeout(context.Background(), kit.Patience)
			ollama.written.Store(0)
			res := ask(ctx, way.client, way.url+path, key, func(r *http.Request) { r.Header.Set(stepHeader, "yes") })
			if res.StatusCode != http.StatusOK || res.Proto != way.name {
				kit.Fatal("%s over %s got %d over %s", path, way.name, res.StatusCode, res.Proto)
			}
			var delays []time.Duration
			var received, written int64
			buffer := make([]byte, 32<<10)
			for n := range 20 {
				sent := time.Now()
				if n > 0 {
					written = ollama.written.Load()
					ollama.step <- struct{}{}
				}
				for received <= written {
					more, err := res.Body.Read(buffer)
					if received += int64(more); err != nil {
						kit.Fatal("%s over %s: chunk %d did not come before the next was sent: %v", path, way.name, n+1, err)
					}
				}
				if n > 0 {
					delays = append(delays, time.Since(sent))
				}
			}
			leave()
			res.Body.Close()
			ollama.await(0)
			slices.Sort(delays)
			median := delays[len(delays)/2]
			if median > held {
				kit.Fatal("%s over %s: chunks are held back, for %v", path, way.name, median)
			}
			kit.Note("%s over %s: chunks come one by one, after %v", path, way.name, median.Round(10*time.Microsecond))
		}
	}
	kit.Pass("chunks pass one by one")
}

// checkAffinity: a key, however it is sent, and the keys made from it meet one
// replica; others meet others. Nothing of a key is in HAProxy's log.
func checkAffinity() {
	keys := strings.Fields(mint("--count", "48"))
	served := map[string]int{}
	for _, key := range keys {
		narrow := kit.Command("restrict", "--models", "llama3.2", key)
		head := key[:strings.IndexByte(key, '.')]
		home := ""
		for i := range 8 {
			set := func(r *http.Request) {}
			switch i % 4 {
			case 1:
				set = func(r *http.Request) { r.Header.Set("Authorization", "bearer "+key) }
			case 2:
				set = func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("X-Api-Key", key) }
			case 3:
				set = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+narrow) }
			}
			at := log.count()
			if got := status(key, "/v1/models?key="+key, set); got != http.StatusOK {
				kit.Fatal("request %d of a key got %d", i, got)
			}
			line := log.after(at)
			if strings.Contains(line, head) {
				kit.Fatal("HAProxy logs a key: %s", line)
			}
			m := regexp.MustCompile(`client=` + client + ` .* path=/v1/models .* replica=(r\d)`).FindStringSubmatch(line)
			switch {
			case m == nil:
				kit.Fatal("HAProxy logs something else: %s", line)
			case home == "":
				home = m[1]
			case home != m[1]:
				kit.Fatal("a key met %s and %s", home, m[1])
			}
		}
		served[home]++
	}
	if len(served) != len(replicas) {
		kit.Fatal("%d keys met only %v", len(keys), served)
	}
	kit.Pass("a key and those made from it meet one replica, by either header: %d keys, %v", len(keys), served)
}

// checkAddress: the address of a client is where it is, not what it says.
func checkAddress() {
	for from, want := range map[string]int{client: http.StatusOK, "127.0.0.1": http.StatusForbidden, "203.0.113.9": http.StatusForbidden} {
		got := status(mint("--from", from), "/v1/models", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.9") })
		if got != want {
			kit.Fatal("a key for %s got %d from %s", from, got, client)
		}
	}
	kit.Pass("a client's address is its own, whatever it says")
}

// checkLeaving: a client that leaves before the first byte stops the GPU.
func checkLeaving() {
	key := mint()
	ctx, leave := context.WithCancel(context.Background())
	go func() {
		ollama.await(1)
		leave()
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+front+"/api/chat", strings.NewReader(strings.Replace(chat, "llama3.2", "hang", 1)))
	kit.Must(err, "a request")
	r.Header.Set("Authorization", "Bearer "+key)
	if _, err := plain.Do(r); !errors.Is(err, context.Canceled) {
		kit.Fatal("a request that hangs ended with %v", err)
	}
	left := time.Now()
	ollama.await(0)
	kit.Pass("a client that leaves before the first byte stops Ollama (%v)", time.Since(left).Round(time.Millisecond))
}

// checkDrain: a replica that is told to stop finishes what it has, and what
// comes goes to the others.
func checkDrain() {
	key := mint()
	ctx, cancel := context.WithTimeout(context.Background(), kit.Patience)
	defer cancel()
	res := ask(ctx, plain, "http://"+front+"/api/chat", key, nil)
	stream := bufio.NewReader(res.Body)
	first, err := stream.ReadString('\n')
	kit.Must(err, "a stream")
	var home *replica
	for _, r := range replicas {
		if r.metric("active_streams") == 1 {
			home = r
		}
	}
	if home == nil {
		kit.Fatal("the stream is nowhere: %s", first)
	}
	home.Terminate()
	kit.Await("a drain", func() bool {
		code, _ := kit.Fetch("http://" + home.metrics + "/readyz")
		return code == http.StatusServiceUnavailable
	})
	began, refused := time.Now(), 0
	for status(key, "/v1/models", nil) != http.StatusOK {
		if refused++; time.Since(began) > 5*time.Second {
			kit.Fatal("five seconds later a replica that drains is still asked")
		}
		time.Sleep(10 * time.Millisecond)
	}
	noticed, before := time.Since(began), home.metric("requests_total")
	for range 100 {
		if got := status(key, "/v1/models", nil); got != http.StatusOK {
			kit.Fatal("%v after it was told to stop: %d", time.Since(began), got)
		}
	}
	if home.metric("requests_total") != before {
		kit.Fatal("a replica that drains is asked again")
	}
	rest, err := io.ReadAll(stream)
	if err != nil || !bytes.Contains(rest, []byte(`"done":true`)) {
		kit.Fatal("a stream was cut while its replica drained: %v", err)
	}
	home.AwaitEnd()
	kit.Pass("a replica that drains is asked no more after %v (%d got 503), and its stream came to its end", noticed.Round(time.Millisecond), refused)
	home.start()
	kit.Await("HAProxy to see it again", func() bool {
		return status(key, "/v1/models", nil) == http.StatusOK && home.metric("requests_total") > 0
	})
}

// checkDeath: what cannot be reached is not asked, and nobody notices.
func checkDeath() {
	key := mint()
	at := log.count()
	if got := status(key, "/v1/models", nil); got != http.StatusOK {
		kit.Fatal("before a death: %d", got)
	}
	line := log.after(at)
	i := slices.IndexFunc(replicas, func(r *replica) bool { return strings.Contains(line, "replica="+r.name) })
	if i < 0 {
		kit.Fatal("HAProxy logs something else: %s", line)
	}
	replicas[i].Kill()
	for n := range 100 {
		if got := status(key, "/v1/models", nil); got != http.StatusOK {
			kit.Fatal("request %d after the death of its replica got %d", n+1, got)
		}
	}
	kit.Pass("100 requests of a key whose replica had just died got 200")
}

// slowHead sends half of a request's head, and no more.
func slowHead() (net.Conn, time.Time) {
	c, err := net.Dial("tcp", front)
	kit.Must(err, "HAProxy")
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: slow\r\n")
	kit.Must(err, "half a head")
	return c, time.Now()
}

func checkSlowHead(c net.Conn, began time.Time) {
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(kit.Patience))
	head, _ := bufio.NewReader(c).ReadString('\n')
	took := time.Since(began)
	if !strings.Contains(head, " 408 ") || took > 2*kit.Patience {
		kit.Fatal("half a head got %q after %v", head, took)
	}
	kit.Pass("half a head gets 408 instead of a place")
}

// checkHealth: HAProxy without replicas is not healthy.
func checkHealth() {
	get := func() int { code, _ := kit.Fetch("http://" + health + "/"); return code }
	if got := get(); got != http.StatusOK {
		kit.Fatal("HAProxy with replicas says %d", got)
	}
	for _, r := range replicas {
		r.Kill()
	}
	kit.Await("HAProxy to be unhealthy", func() bool { return get() == http.StatusServiceUnavailable })
	kit.Pass("HAProxy is healthy as long as a replica is")
}

// start runs Ollama, three replicas and HAProxy.
func start() {
	kit.WriteFile(filepath.Join(kit.Dir, "list"), "")
	kit.Command("secret", "--out", filepath.Join(kit.Dir, "shared"))
	var servers strings.Builder
	for i := range 3 {
		r := &replica{name: fmt.Sprintf("r%d", i+1), address: kit.FreeAddress(), metrics: kit.FreeAddress()}
		replicas = append(replicas, r)
		r.start()
		_, port, _ := net.SplitHostPort(r.metrics)
		fmt.Fprintf(&servers, "  server %s %s port %s\n", r.name, r.address, port)
	}
	front, frontTLS, health = kit.FreeAddress(), kit.FreeAddress(), kit.FreeAddress()
	file := kit.HAProxyConfig(servers.String(), [2]string{`bind :8080`, `bind ` + front},
		[2]string{`bind :8443`, `bind ` + frontTLS}, [2]string{`bind 127.0.0.1:8404`, `bind ` + health})
	name := "haproxy"
	if other := os.Getenv("HAPROXY"); other != "" {
		name = other
	}
	kit.Start("haproxy", func(c *exec.Cmd) {
		c.Env = append(c.Env, "TLS_CERTIFICATE="+filepath.Join(kit.Dir, "tls.pem"))
		c.Stdout, c.Stderr = &log, &log
	}, name, "-db", "-f", file)
	key := mint()
	kit.Await("HAProxy and its replicas", func() bool {
		code, _ := kit.Fetch("http://" + health + "/")
		return code == http.StatusOK && status(key, "/v1/models", nil) == http.StatusOK &&
			!slices.ContainsFunc(replicas, func(r *replica) bool {
				code, _ := kit.Fetch("http://" + r.metrics + "/readyz")
				return code != http.StatusOK
			})
	})
}

// An upstream is a stand-in for Ollama that counts what runs.
type upstream struct {
	address string
	step    chan struct{}
	written atomic.Int64 // bytes of the stepped stream, with those on their way
	mu      sync.Mutex
	running int
}

const stepHeader = "X-Step" // passes through the proxy: chunks wait for a step

func newUpstream() *upstream {
	u := &upstream{step: make(chan struct{})}
	paced, stepped := standin.New(standin.Options{Pace: 40 * time.Millisecond}), standin.New(standin.Options{Step: u.step})
	u.address = kit.Listen("127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			u.count(1)
			defer u.count(-1)
		}
		if r.Header.Get(stepHeader) != "" {
			stepped.ServeHTTP(counter{w, &u.written}, r)
			return
		}
		paced.ServeHTTP(w, r)
	}))
	return u
}

type counter struct {
	http.ResponseWriter
	written *atomic.Int64
}

func (c counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c counter) Write(p []byte) (int, error) {
	c.written.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

func (u *upstream) count(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.running += n
}

func (u *upstream) await(n int) {
	kit.Await(fmt.Sprintf("%d requests at Ollama", n), func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.running == n
	})
}

// A replica is one ollama-proxy serve.
type replica struct {
	name, address, metrics string
	*kit.Child
}

func (r *replica) start() {
	r.Child = kit.Start(r.name, nil, filepath.Join(kit.Dir, "ollama-proxy"), "serve", "--listen", r.address, "--metrics-listen", r.metrics, "--upstream", "http://"+ollama.address,
		"--secret-file", filepath.Join(kit.Dir, "shared"), "--revocations", filepath.Join(kit.Dir, "list"), "--trusted-proxy", "127.0.0.1")
}

// metric is the sum of a metric's series, NaN as long as it does not serve.
func (r *replica) metric(name string) float64 {
	_, page := kit.Fetch("http://" + r.metrics + "/metrics")
	return kit.Scrape(page).Sum("ollama_proxy_" + name)
}

// haproxyLog is what HAProxy says of each request.
type haproxyLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *haproxyLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := os.OpenFile(filepath.Join(kit.Dir, "haproxy.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		f.Write(p)
		f.Close()
	}
	for line := range strings.Lines(string(p)) {
		if strings.HasPrefix(line, "client=") {
			l.lines = append(l.lines, strings.TrimSpace(line))
		}
	}
	return len(p), nil
}

func (l *haproxyLog) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// after waits for the line after the first n.
func (l *haproxyLog) after(n int) string {
	kit.Await("a line of HAProxy's", func() bool { return l.count() > n })
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[n]
}

func transport(config *tls.Config) *http.Transport {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}
	return &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: config, ForceAttemptHTTP2: config != nil}
}

// ask posts a chat with a key.
func ask(ctx context.Context, c *http.Client, url, key string, set func(*http.Request)) *http.Response {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(chat))
	kit.Must(err, "a request")
	r.Header.Set("Authorization", "Bearer "+key)
	if set != nil {
		set(r)
	}
	res, err := c.Do(r)
	kit.Must(err, "asking %s", url)
	return res
}

// status is what a GET through HAProxy gets, 0 if nothing.
func status(key, path string, set func(*http.Request)) int {
	r, err := http.NewRequest(http.MethodGet, "http://"+front+path, nil)
	kit.Must(err, "a request")
	r.Header.Set("Authorization", "Bearer "+key)
	if set != nil {
		set(r)
	}
	res, err := plain.Do(r)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res.StatusCode
}

func mint(more ...string) string {
	return kit.Command(append([]string{"mint", "--secret-file", filepath.Join(kit.Dir, "shared")}, more...)...)
}
