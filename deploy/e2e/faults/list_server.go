//go:build linux

package main

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// A listServer serves the list of revoked keys, with the faults of a test.
type listServer struct {
	address  string
	http     *http.Server
	requests atomic.Int64
	handler  atomic.Pointer[http.HandlerFunc]
}

func newListServer() *listServer {
	s := &listServer{address: "127.0.0.1:0"}
	s.open()
	return s
}

func (s *listServer) open() {
	l, err := net.Listen("tcp", s.address)
	kit.Must(err, "the list's server")
	s.address = l.Addr().String()
	s.http = &http.Server{Handler: s}
	go s.http.Serve(l)
}

func (s *listServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	(*s.handler.Load())(w, r)
}

func (s *listServer) handleWith(h http.HandlerFunc) { s.handler.Store(&h) }

// url returns the URL of the list, with passwords that must not be logged.
func (s *listServer) url() string { return "http://user:planted@" + s.address + "/list?token=planted" }

func answerText(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

func answerStatus(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
	}
}

func redirectTo(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// drip sends a byte at intervals, without end.
func drip(w http.ResponseWriter, r *http.Request) {
	for tick := time.NewTicker(50 * time.Millisecond); r.Context().Err() == nil; <-tick.C {
		io.WriteString(w, "#")
		http.NewResponseController(w).Flush()
	}
}
