//go:build linux

// Command faults checks that ollama-proxy gets over what it cannot help: see
// the functions that main calls. It is run by .ci/faults, with a directory that
// holds the built ollama-proxy and one whose clock can be stepped, and exits 1
// at the first thing that is not as it should be. Whoever runs it ends what it
// has started.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

const pace = 40 * time.Millisecond // between two tokens of the stand-in's, of which there are 67

var (
	ollama  string   // its address
	skipped []string // out
	minted  []string // keys
)

func main() {
	if len(os.Args) != 3 {
		kit.Fatal("run .ci/faults instead")
	}
	kit.Dir = os.Args[1]
	ollama = kit.Listen("127.0.0.1:0", standin.New(standin.Options{Pace: pace}))

	checkDisk(os.Args[2] != "0")
	checkKilledRevoke()
	checkList()
	checkSignals()
	checkOpenFiles()
	checkHolders()
	checkLists()
	checkClock()

	words := ""
	if skipped != nil {
		words = "; NOT checked here: " + strings.Join(skipped, ", ")
	}
	fmt.Printf("disks, revoke killed midway, the list's server, signals, open files, their holders and the clock: all held, after %s%s\n", kit.Seconds(time.Since(kit.Began)), words)
}

// A proxy is a running `ollama-proxy serve` that has a secret of its own.
type proxy struct{ *kit.Proxy }

// launch starts a proxy that has a secret of its own, after a change to how, if
// there is any, and waits until it serves.
func launch(name string, change func(*exec.Cmd), args ...string) *proxy {
	secret := secretOf(name)
	if _, err := os.Stat(secret); err != nil {
		kit.WriteFile(secret, kit.Command("secret")+"\n")
	}
	return &proxy{kit.Serve(name, change, append([]string{"--upstream", ollama, "--secret-file", secret, "--reload-interval", "100ms"}, args...)...).AwaitServing()}
}

func secretOf(name string) string { return filepath.Join(kit.Dir, name+".secret") }

func (p *proxy) mint(args ...string) string {
	key := kit.Command(append([]string{"mint", "--secret-file", secretOf(p.Name)}, args...)...)
	minted = append(minted, key)
	return key
}

// tells fails unless the log has n lines since then with all the words. A line is
// written when its request is over, which a client may know before.
func (p *proxy) expectLog(since, n int, words ...string) {
	count := func() (lines int) {
		for line := range strings.Lines(p.Logged()[since:]) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				lines++
			}
		}
		return lines
	}
	kit.Await(fmt.Sprintf("the log of %s to have %d lines with %q", p.Name, n, words), func() bool { return count() >= n })
	if got := count(); got != n {
		kit.Fatal("the log of %s has %d lines with %q, not %d:\n%s", p.Name, got, words, n, p.Logged()[since:])
	}
}

// counts fails unless a series comes to be n.
func (p *proxy) expectMetric(series string, n float64) {
	kit.Await(fmt.Sprintf("%s of %s to be %v", series, p.Name, n), func() bool { return p.Metric(series) >= n })
	if got := p.Metric(series); got != n {
		kit.Fatal("%s of %s is %v, not %v", series, p.Name, got, n)
	}
}

// keepsQuiet fails if what nobody may read stands in the log.
func (p *proxy) expectNoSecrets() {
	hidden := append(strings.Fields(kit.ReadFile(secretOf(p.Name))), "planted") // as URLs have it
	for _, key := range minted {
		hidden = append(hidden, key[strings.LastIndex(key, ".")+1:])
	}
	log := p.Logged()
	for _, text := range hidden {
		if strings.Contains(log, text) {
			kit.Fatal("the log of %s shows what is secret", p.Name)
		}
	}
}

// Stop ends it by SIGTERM, gives how long that took, and looks at the log.
func (p *proxy) Stop() time.Duration {
	took := p.Proxy.Stop()
	p.expectNoSecrets()
	return took
}

// allows fails unless the key gets the status for what costs Ollama nothing.
func (p *proxy) expectStatus(key string, want int, when string) {
	if status, body, err := get("http://"+p.Address+"/api/version", key); err != nil || status != want {
		kit.Fatal("%s: status %d, not %d, %q, %v", when, status, want, body, err)
	}
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}, Timeout: kit.Timeout}

func get(url, key string) (status int, body string, err error) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	kit.Must(err, "a request")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// A stream is one that runs, or is over.
type stream struct {
	begun, done chan struct{}
	status      int
	body        []byte
	pause       time.Duration // the longest between two reads
	err         error
}

// stream asks for one and does not wait for it.
func (p *proxy) stream(key string) *stream {
	s := &stream{begun: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		r, err := http.NewRequest(http.MethodPost, "http://"+p.Address+"/api/chat", strings.NewReader(`{"model":"tiny","messages":[{"role":"user","content":"Why?"}]}`))
		kit.Must(err, "a request")
		r.GetBody = nil // or the client would hide a failure by asking again
		r.Header.Set("Authorization", "Bearer "+key)
		res, err := client.Do(r)
		if err != nil {
			s.err = err
			close(s.begun)
			return
		}
		defer res.Body.Close()
		s.status = res.StatusCode
		close(s.begun)
		buffer := make([]byte, 32<<10)
		for last := time.Now(); s.err == nil; {
			var n int
			n, s.err = res.Body.Read(buffer)
			s.body = append(s.body, buffer[:n]...)
			s.pause, last = max(s.pause, time.Since(last)), time.Now()
		}
		if s.err == io.EOF {
			s.err = nil
		}
	}()
	return s
}

// streams begins n of them.
func (p *proxy) streams(key string, n int) (all []*stream) {
	for range n {
		all = append(all, p.stream(key))
	}
	for _, s := range all {
		if <-s.begun; s.status != http.StatusOK {
			<-s.done
			kit.Fatal("a stream through %s does not begin: status %d, %s, %v", p.Name, s.status, s.body, s.err)
		}
	}
	return all
}

func (s *stream) whole() bool {
	<-s.done
	return s.err == nil && s.status == http.StatusOK && bytes.Contains(s.body, []byte(`"done":true`))
}

// broken reports whether the client can tell that it is not whole.
func (s *stream) broken() bool {
	<-s.done
	return s.err != nil && !bytes.Contains(s.body, []byte(`"done":true`))
}

func (s *stream) String() string {
	<-s.done
	return fmt.Sprintf("status %d, %d bytes to ...%q, %v", s.status, len(s.body), s.body[max(0, len(s.body)-100):], s.err)
}

// outcome runs ollama-proxy to its end, after a change to how.
func runCommand(change func(*exec.Cmd), args ...string) (out, talk string, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), kit.Timeout)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(kit.Dir, "ollama-proxy"), args...)
	var stdout, stderr bytes.Buffer
	c.Env, c.Stdout, c.Stderr = kit.Environment(), &stdout, &stderr
	if change != nil {
		change(c)
	}
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		kit.Fatal("ollama-proxy %s: %v", args[0], err)
	}
	return stdout.String(), stderr.String(), c.ProcessState.ExitCode()
}

// fails runs ollama-proxy, which is to fail with one line that has words.
func expectFailure(change func(*exec.Cmd), words string, args ...string) {
	out, talk, code := runCommand(change, args...)
	if code != 1 || out != "" || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, words) {
		kit.Fatal("ollama-proxy %s: exit %d, %q, and not one line with %q but %q", strings.Join(args, " "), code, out, words, talk)
	}
}

// within runs a command with one of the shell's limits.
func withLimit(limit string) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		c.Args = append([]string{"bash", "-c", "ulimit " + limit + `; exec "$@"`, "bash", c.Path}, c.Args[1:]...)
		bash, err := exec.LookPath("bash")
		kit.Must(err, "bash")
		c.Path = bash
	}
}
