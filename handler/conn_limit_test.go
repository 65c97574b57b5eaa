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
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// TestSeveralOllamasShareTheConnectionLimit: with three connections, a list merged from
// eight Ollamas is complete, and no Ollama is marked down since there is no connection
// left for it.
func TestSeveralOllamasShareTheConnectionLimit(t *testing.T) {
	t.Parallel()
	var boxes []*handlertest.Box
	for i := range 8 {
		boxes = append(boxes, handlertest.NewBox(t, fmt.Sprint("box", i), standin.Options{Models: []string{fmt.Sprint("model", i)}}))
	}
	s := handlertest.StartPool(t, handlertest.Config{Server: func(s *server.Server) {
		handler.LimitUpstreamConns(s.Proxy, 3)
		handler.WaitForUpstreamConns(s.Proxy)
	}}, boxes...)
	var all sync.WaitGroup
	for range 20 {
		w := s.Dial(t)
		all.Go(func() {
			w.Send("GET", "/api/tags", "", handlertest.Bearer(s.Key))
			if got := w.Answer("GET"); got.Status != 200 || strings.Count(got.Body, `"name"`) != len(boxes) {
				t.Errorf("%s %s", got, got.Body)
			}
		})
	}
	all.Wait()
	for i := range boxes { // idle connections to other Ollamas are closed for it
		w := s.Dial(t)
		w.Send("POST", "/api/chat", handlertest.ForModel(fmt.Sprint("model", i)), handlertest.Bearer(s.Key))
		if got := w.Answer("POST"); got.Status != 200 {
			t.Errorf("model%d: %s %s", i, got, got.Body)
		}
	}
	if taken := handler.UpstreamConnsInUse(s.Proxy); taken > 3 {
		t.Errorf("%d connections, and the limit is 3", taken)
	}
	if text, _ := s.Log.Text(); strings.Contains(text, "cannot be reached") {
		t.Errorf("the log says %s", text)
	}
}

// TestConnectionLimitReached: a request that gets no connection to an Ollama is answered
// 503 with Retry-After, and is not counted as a failure of an Ollama.
func TestConnectionLimitReached(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	boxes := []*handlertest.Box{
		handlertest.NewBox(t, "a", standin.Options{Models: []string{"a"}, Step: step}),
		handlertest.NewBox(t, "b", standin.Options{Models: []string{"b"}, Step: step}),
	}
	s := handlertest.StartPool(t, handlertest.Config{Server: func(s *server.Server) { handler.LimitUpstreamConns(s.Proxy, 2) }}, boxes...)
	var running []*http.Response
	for range 2 {
		w := s.Dial(t)
		w.Send("POST", "/api/chat", strings.Replace(handlertest.ForModel("a"), `"stream":false`, `"stream":true`, 1), handlertest.Bearer(s.Key))
		running = append(running, w.ReadHead("POST"))
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/chat", handlertest.ForModel("b")},
		{"GET", "/api/tags", ""},
		{"GET", "/v1/models", ""},
	} {
		w := s.Dial(t)
		w.Send(c.method, c.path, c.body, handlertest.Bearer(s.Key))
		got := w.Answer(c.method)
		if message, _ := handlertest.ErrorIn(t, c.path, got.Body); got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "1" || message != "too many requests in flight, try again" {
			t.Errorf("%s: %s %s", c.path, got, got.Body)
		}
	}
	close(step)
	for _, res := range running {
		res.Body.Close()
	}
	s.Spy.Await(t, "Refused", 3)
	if reasons := s.Spy.Texts("Refused"); len(reasons) != 3 || !slices.Equal(slices.Compact(reasons), []string{"overload"}) {
		t.Errorf("recorded as %q", reasons)
	}
	if text, _ := s.Log.Text(); strings.Contains(text, "cannot be reached") || len(s.Spy.All("UpstreamFailed")) != 0 {
		t.Errorf("an Ollama is blamed: %s", text)
	}
}

// TestNoDescriptorLeft: a request that gets no file descriptor is answered in the same way.
func TestNoDescriptorLeft(t *testing.T) {
	t.Parallel()
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE} {
		s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) {
			o.Transport = transport.NewWithDial(func(context.Context) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", errno)}
			})
		}})
		for _, c := range handlertest.Chats {
			got := s.Ask(t, "POST", c.Path, c.Ask("tiny", true))
			if message, _ := handlertest.ErrorIn(t, c.Path, got.Body); got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "1" || message != "too many requests in flight, try again" {
				t.Errorf("%v: %s: %s %s", errno, c.Path, got, got.Body)
			}
		}
		if text, _ := s.Log.Text(); strings.Contains(text, "cannot be reached") || len(s.Spy.All("UpstreamFailed")) != 0 {
			t.Errorf("%v: Ollama is blamed: %s", errno, text)
		}
	}
}
