//go:build unix

package main

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// An upstream is a stand-in for Ollama that counts requests in flight.
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
