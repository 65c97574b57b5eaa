package handler_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestSeveralOllamasShareConnections: lists, for which all are asked, take as many
// as there are Ollamas; and none is taken to be down because there is none left
// to ask it on.
func TestSeveralOllamasShareConnections(t *testing.T) {
	t.Parallel()
	var boxes []*box
	for i := range 8 {
		boxes = append(boxes, newBox(t, fmt.Sprint("box", i), standin.Options{Models: []string{fmt.Sprint("model", i)}}))
	}
	s := startPool(t, config{server: func(s *handler.Server) {
		handler.BoundSlots(s.Proxy, 3)
		handler.WaitForSlots(s.Proxy)
	}}, boxes...)
	var all sync.WaitGroup
	for range 20 {
		w := s.dial(t)
		all.Go(func() {
			w.send("GET", "/api/tags", "", bearer(s.key))
			if got := w.answer("GET"); got.status != 200 || strings.Count(got.body, `"name"`) != len(boxes) {
				t.Errorf("%s %s", got, got.body)
			}
		})
	}
	all.Wait()
	for i := range boxes { // whatever idles with others makes way
		w := s.dial(t)
		w.send("POST", "/api/chat", forModel(fmt.Sprint("model", i)), bearer(s.key))
		if got := w.answer("POST"); got.status != 200 {
			t.Errorf("model%d: %s %s", i, got, got.body)
		}
	}
	if taken := handler.SlotsTaken(s.proxy); taken > 3 {
		t.Errorf("%d connections where there may be 3", taken)
	}
	if text, _ := s.log.look(); strings.Contains(text, "cannot be reached") {
		t.Errorf("the log says %s", text)
	}
}

// TestNoConnectionLeft: who waits in vain hears when to come back, and nobody is
// blamed.
func TestNoConnectionLeft(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	boxes := []*box{
		newBox(t, "a", standin.Options{Models: []string{"a"}, Step: step}),
		newBox(t, "b", standin.Options{Models: []string{"b"}, Step: step}),
	}
	s := startPool(t, config{server: func(s *handler.Server) { handler.BoundSlots(s.Proxy, 2) }}, boxes...)
	var running []*http.Response
	for range 2 {
		w := s.dial(t)
		w.send("POST", "/api/chat", strings.Replace(forModel("a"), `"stream":false`, `"stream":true`, 1), bearer(s.key))
		running = append(running, w.begun("POST"))
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/chat", forModel("b")},
		{"GET", "/api/tags", ""},
		{"GET", "/v1/models", ""},
	} {
		w := s.dial(t)
		w.send(c.method, c.path, c.body, bearer(s.key))
		got := w.answer(c.method)
		if message, _ := errorIn(t, c.path, got.body); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") != "1" || message != "too many requests in flight, try again" {
			t.Errorf("%s: %s %s", c.path, got, got.body)
		}
	}
	close(step)
	for _, res := range running {
		res.Body.Close()
	}
	s.spy.await(t, "Refused", 3)
	if reasons := s.spy.texts("Refused"); len(reasons) != 3 || !slices.Equal(slices.Compact(reasons), []string{"overload"}) {
		t.Errorf("recorded as %q", reasons)
	}
	if text, _ := s.log.look(); strings.Contains(text, "cannot be reached") || len(s.spy.all("UpstreamFailed")) != 0 {
		t.Errorf("an Ollama is blamed: %s", text)
	}
}

// TestNoDescriptorLeft is not Ollama's fault either.
func TestNoDescriptorLeft(t *testing.T) {
	t.Parallel()
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE} {
		s := start(t, config{proxy: func(o *handler.Options) {
			o.Transport = handler.TransportOver(func(context.Context) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", errno)}
			})
		}})
		for _, c := range chats {
			got := s.ask(t, "POST", c.path, c.ask("tiny", true))
			if message, _ := errorIn(t, c.path, got.body); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") != "1" || message != "too many requests in flight, try again" {
				t.Errorf("%v: %s: %s %s", errno, c.path, got, got.body)
			}
		}
		if text, _ := s.log.look(); strings.Contains(text, "cannot be reached") || len(s.spy.all("UpstreamFailed")) != 0 {
			t.Errorf("%v: Ollama is blamed: %s", errno, text)
		}
	}
}
