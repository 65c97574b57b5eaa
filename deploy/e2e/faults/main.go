//go:build linux

// Command faults checks that ollama-proxy survives faults of its machine: full disks,
// signals, too few open files, a broken server of the revocation list, steps of the clock.
// See the functions that main calls.
//
// .ci/faults runs it with a directory that contains the built ollama-proxy and one whose
// clock can be stepped. It exits with status 1 at the first failure. The processes that it
// has started are ended by .ci/faults.
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

const pace = 40 * time.Millisecond // between two of the 67 tokens of the stand-in's answer

var (
	ollama  string   // its address
	skipped []string // checks that cannot run here
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

// A proxy is a running `ollama-proxy serve` with a secret of its own.
type proxy struct{ *kit.Proxy }

// launch starts a proxy with a secret of its own, and waits until it serves. If change is
// not nil, it may change the command first.
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

// expectLog ends the program unless the log has exactly n lines, from the offset since on,
// that contain all the words. It waits for them: the line of a request may be written after
// its client has got the answer.
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

// expectMetric ends the program unless the value of a series becomes n.
func (p *proxy) expectMetric(series string, n float64) {
	kit.Await(fmt.Sprintf("%s of %s to be %v", series, p.Name, n), func() bool { return p.Metric(series) >= n })
	if got := p.Metric(series); got != n {
		kit.Fatal("%s of %s is %v, not %v", series, p.Name, got, n)
	}
}

// expectNoSecrets ends the program if the log contains a secret or the tag of a key.
func (p *proxy) expectNoSecrets() {
	hidden := append(strings.Fields(kit.ReadFile(secretOf(p.Name))), "planted") // the password in URLs
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

// Stop ends the proxy by SIGTERM, returns how long that took, and checks that the log has no
// secrets.
func (p *proxy) Stop() time.Duration {
	took := p.Proxy.Stop()
	p.expectNoSecrets()
	return took
}

// expectStatus ends the program unless a cheap request with the key gets the status. When
// describes the situation.
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

// A stream is a streamed answer that is being read or has been read.
type stream struct {
	begun, done chan struct{}
	status      int
	body        []byte
	pause       time.Duration // the longest between two reads
	err         error
}

// stream starts to read a stream, and does not wait.
func (p *proxy) stream(key string) *stream {
	s := &stream{begun: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		r, err := http.NewRequest(http.MethodPost, "http://"+p.Address+"/api/chat", strings.NewReader(`{"model":"tiny","messages":[{"role":"user","content":"Why?"}]}`))
		kit.Must(err, "a request")
		r.GetBody = nil // otherwise the client would retry, and hide a failure
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

// streams starts n streams, and waits until each has begun.
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

// broken waits for the end, and reports whether the client can see that the stream is
// incomplete.
func (s *stream) broken() bool {
	<-s.done
	return s.err != nil && !bytes.Contains(s.body, []byte(`"done":true`))
}

func (s *stream) String() string {
	<-s.done
	return fmt.Sprintf("status %d, %d bytes to ...%q, %v", s.status, len(s.body), s.body[max(0, len(s.body)-100):], s.err)
}

// runCommand runs ollama-proxy, and returns its output and exit status. If change is not
// nil, it may change the command first.
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

// expectFailure runs ollama-proxy, which must fail with one line that contains the words.
func expectFailure(change func(*exec.Cmd), words string, args ...string) {
	out, talk, code := runCommand(change, args...)
	if code != 1 || out != "" || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, words) {
		kit.Fatal("ollama-proxy %s: exit %d, %q, and not one line with %q but %q", strings.Join(args, " "), code, out, words, talk)
	}
}

// withLimit returns a change that runs a command under a limit of the shell (ulimit).
func withLimit(limit string) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		c.Args = append([]string{"bash", "-c", "ulimit " + limit + `; exec "$@"`, "bash", c.Path}, c.Args[1:]...)
		bash, err := exec.LookPath("bash")
		kit.Must(err, "bash")
		c.Path = bash
	}
}
