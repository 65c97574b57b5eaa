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

// A box is an Ollama that answers as many requests at once as it has slots, each
// in the same time, has some wait, and says to others that it is busy. Nearly all
// of that time passes without work, so that not the machine that all this runs on
// decides what a box can do.
type box struct {
	name    string
	models  []string
	slots   int
	service time.Duration // of one request
	queue   int           // how many may be there, in slots or waiting
	weight  int

	address string // the same in each life
	life    *life
	strays  atomic.Int64 // requests for models that it does not have
	refused atomic.Int64 // for which it was too busy
}

// A life is from a box's start to its death. What was loaded ends with it.
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

// perSecond is what the box can do, on paper.
func (b *box) perSecond() float64 { return float64(b.slots) / b.service.Seconds() }

func (b *box) has(model string) bool { return slices.Contains(b.models, model) }

// start brings the box to life, where it was before if it has been.
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

// kill ends the box as the machine does that loses its power, with a reset of
// every connection, or as the end of its process does.
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

// ServeHTTP has a request wait for a slot, which it has for as long as the box
// takes, however soon the stand-in is through.
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
