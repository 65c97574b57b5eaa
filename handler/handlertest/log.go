package handlertest

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"
)

// SyncBuffer collects a log.
type SyncBuffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{} // closed at the next write; nil if nobody waits
}

func (b *SyncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
	return b.b.Write(p)
}

// Look returns what is there, and a channel that is closed when there is more.
func (b *SyncBuffer) Look() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown == nil {
		b.grown = make(chan struct{})
	}
	return b.b.String(), b.grown
}

// Lines waits until the access log has n lines, and returns all it has.
func (s *Site) Lines(t *testing.T, n int) []map[string]any {
	t.Helper()
	late := time.After(Patience)
	for {
		var all []map[string]any
		text, grown := s.Log.Look()
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
		case <-late:
			t.Fatalf("waited in vain for line %d of the access log", n)
		}
	}
}
