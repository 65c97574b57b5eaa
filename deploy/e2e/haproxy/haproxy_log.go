//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// haproxyLog collects HAProxy's log, which has a line for each request.
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

// after waits for line n+1, and returns it.
func (l *haproxyLog) after(n int) string {
	kit.Await("a line of HAProxy's", func() bool { return l.count() > n })
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[n]
}
