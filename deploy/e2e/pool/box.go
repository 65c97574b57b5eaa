//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// A box is an Ollama that answers as many requests at once as it has slots, each in the same
// time. It queues some more, and answers others that it is busy. It does nearly nothing in
// that time, so that its capacity does not depend on the machine.
type box struct {
	name    string
	models  []string
	slots   int
	service time.Duration // of one request
	queue   int           // requests at once, in slots or waiting
	weight  int

	address string // it stays the same after a kill
	life    *life
	strays  atomic.Int64 // requests for models that it does not have
	refused atomic.Int64 // requests for which it was too busy
}

// A life is the state of a box from its start until it is killed, such as the loaded models.
type life struct {
	*box
	ollama   *standin.Ollama
	server   *http.Server
	slots    chan struct{}
	present  atomic.Int64
	answered atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// perSecond returns how many requests a second the box can answer in theory.
func (b *box) perSecond() float64 { return float64(b.slots) / b.service.Seconds() }

func (b *box) has(model string) bool { return slices.Contains(b.models, model) }

// start starts the box, on the same address as before if it was killed.
func (b *box) start() {
	listener, err := net.Listen("tcp", b.address)
	kit.Must(err, "listening for %s", b.name)
	b.address = listener.Addr().String()
	l := &life{
		box:    b,
		ollama: standin.New(standin.Options{Models: b.models, Pace: b.service / (tokens + tokens/2)}),
		slots:  make(chan struct{}, b.slots),
		conns:  map[net.Conn]bool{},
	}
	l.server = &http.Server{Handler: l, ConnState: l.watch, ErrorLog: log.New(io.Discard, "", 0)}
	b.life = l
	go l.server.Serve(listener)
}

// kill ends the box: with a reset of every connection, or with an orderly close, as when its
// process ends.
func (b *box) kill(reset bool) {
	l := b.life
	l.mu.Lock()
	for c := range l.conns {
		if reset {
			c.(*net.TCPConn).SetLinger(0)
		}
	}
	l.mu.Unlock()
	l.server.Close()
}

func (l *life) watch(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(l.conns, c)
	} else {
		l.conns[c] = true
	}
}

// ServeHTTP makes a request wait for a slot, and occupies the slot for the time of the box,
// although the stand-in answers sooner.
func (l *life) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		l.ollama.ServeHTTP(w, r) // lists
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var about struct{ Model string }
	json.Unmarshal(body, &about)
	if !l.has(about.Model) {
		l.strays.Add(1)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))

	defer l.present.Add(-1)
	if l.present.Add(1) > int64(l.queue) {
		l.refused.Add(1)
		r.Header.Set("X-Standin", "busy")
		l.ollama.ServeHTTP(w, r)
		return
	}
	select {
	case l.slots <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	defer func() { <-l.slots }()
	over, cancel := context.WithTimeout(r.Context(), l.service)
	defer cancel()
	l.ollama.ServeHTTP(w, r)
	<-over.Done()
	if r.Context().Err() == nil {
		l.answered.Add(1)
	}
}
