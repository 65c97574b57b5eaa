//go:build ignore

// What more than one check needs: .ci/pool and others build it together with
// their own files. The end of what a check has started is for whoever runs it.

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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
