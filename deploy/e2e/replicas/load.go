//go:build unix

package main

import (
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// load sends requests through HAProxy all the time.
type load struct {
	key  string
	stop chan struct{}
	wait sync.WaitGroup

	mu     sync.Mutex
	whole  []*answer
	failed []*answer
}

func newLoad(key string) *load {
	l := &load{key: key, stop: make(chan struct{})}
	for i := range workers {
		// Of different lengths, so that they do not begin and end together.
		kinds := []question{sse(20 + i).with(key), ndjson(20 + i).with(key), atOnce(40 + i).with(key)}
		l.wait.Go(func() {
			for n := i; ; n++ {
				select {
				case <-l.stop:
					return
				default:
					l.add(kinds[n%len(kinds)].to(haproxy).finished())
				}
			}
		})
	}
	return l
}

// take adds an answer to the load once it has ended.
func (l *load) take(a *answer) { l.wait.Go(func() { l.add(a.finished()) }) }

func (l *load) add(a *answer) {
	err := a.whole()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.whole = append(l.whole, a)
		return
	}
	l.failed = append(l.failed, a)
	if len(l.failed) > 4*workers {
		kit.Fatal("the load fails: %s", a)
	}
}

// wholeSince returns the number of complete answers to requests since a moment, from one
// replica or, if the name is empty, from all.
func (l *load) wholeSince(then time.Time, name string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.whole {
		if a.asked.After(then) && (name == "" || a.replica == name) {
			n++
		}
	}
	return n
}

func (l *load) end() {
	close(l.stop)
	l.wait.Wait()
}
