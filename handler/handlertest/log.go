package handlertest

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"
)

// SyncBuffer is an io.Writer that collects what is written, such as a log, for a test that
// waits for it.
type SyncBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{} // closed by the next Write; nil if no one waits
}

// Write implements io.Writer.
func (b *SyncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
	return b.b.Write(p)
}

// Text returns all that has been written, and a channel that the next Write closes.
func (b *SyncBuffer) Text() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown == nil {
		b.grown = make(chan struct{})
	}
	return b.b.String(), b.grown
}

// AccessLog waits until the access log has n lines, and returns all lines it has.
func (s *Site) AccessLog(t *testing.T, n int) []map[string]any {
	t.Helper()
	timeout := time.After(Timeout)
	for {
		var all []map[string]any
		text, grown := s.Log.Text()
		for line := range strings.Lines(text) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("log line %q: %v", line, err)
			}
			if m["msg"] == "request" {
				all = append(all, m)
			}
		}
		if len(all) >= n {
			return all
		}
		select {
		case <-grown:
		case <-timeout:
			t.Fatalf("waited in vain for line %d of the access log", n)
		}
	}
}
