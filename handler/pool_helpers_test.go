package handler_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// box is one of several Ollamas.
type box struct {
	t      *testing.T
	name   string
	ollama *standin.Ollama
	server *httptest.Server
	at     string                                                        // host:port
	fault  atomic.Pointer[func(http.ResponseWriter, *http.Request) bool] // answers in its place; false: does not
	looks  atomic.Int32                                                  // of the proxy's own
	now    atomic.Int32                                                  // looks at its list that it is answering
	peak   atomic.Int32                                                  // the most of these at once
	asked  chan string                                                   // the path of each request that reaches it
}

// newBox runs one with the given models, or those of any stand-in.
func newBox(t *testing.T, name string, o standin.Options) *box {
	t.Helper()
	b := &box{t: t, name: name, ollama: standin.New(o), asked: make(chan string, 10_000)}
	b.open(listen(t))
	t.Cleanup(func() { b.close() })
	return b
}

func (b *box) open(l net.Listener) {
	b.server = httptest.NewUnstartedServer(b)
	b.server.Listener.Close()
	b.server.Listener = l
	b.server.Start()
	b.at = l.Addr().String()
}

// close kills it: nothing is accepted any more, and what runs breaks off.
func (b *box) close() {
	b.server.Listener.Close()
	b.server.CloseClientConnections()
	b.server.Close()
}

// reopen has it come back where it was.
func (b *box) reopen() { b.open(listenAt(b.t, b.at)) }

func (b *box) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isWatch(r) {
		b.looks.Add(1)
		if r.URL.Path == "/api/tags" {
			for n, peak := b.now.Add(1), b.peak.Load(); n > peak && !b.peak.CompareAndSwap(peak, n); peak = b.peak.Load() {
			}
			defer b.now.Add(-1)
		}
		b.ollama.ServeHTTP(w, r)
		return
	}
	b.asked <- r.URL.Path
	if fault := b.fault.Load(); fault != nil && (*fault)(w, r) {
		return
	}
	b.ollama.ServeHTTP(w, r)
}

func (b *box) upstream() handler.Upstream {
	return handler.Upstream{Name: b.name, URL: &url.URL{Scheme: "http", Host: b.at}, Weight: 1}
}

// fails has it answer requests, though not looks, like this from now on.
func (b *box) fails(how func(http.ResponseWriter, *http.Request)) {
	f := func(w http.ResponseWriter, r *http.Request) bool { how(w, r); return true }
	b.fault.Store(&f)
}

func isBusy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprint(w, `{"error":"server busy, please try again.  maximum pending requests exceeded"}`)
}

// breaks resets the connection before any of the answer.
func breaks(w http.ResponseWriter, _ *http.Request) {
	c, _, _ := w.(http.Hijacker).Hijack()
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// requests is how many it got that were not looks.
func (b *box) requests() int { return len(b.asked) }

// startPool runs a proxy before several Ollamas, and waits until it has looked at
// each.
func startPool(t *testing.T, c config, boxes ...*box) *site {
	t.Helper()
	change := c.proxy
	c.proxy = func(o *handler.Options) {
		for _, b := range boxes {
			o.Upstreams = append(o.Upstreams, b.upstream())
		}
		if change != nil {
			change(o)
		}
	}
	s := start(t, c)
	for i := 1; ; i++ {
		s.spy.await(t, "UpstreamUp", i)
		if !slices.ContainsFunc(boxes, func(b *box) bool { return b.looks.Load() < 2 }) && i >= len(boxes) {
			return s
		}
	}
}

// forModel is a small chat that asks for one.
func forModel(model string) string {
	return fmt.Sprintf(`{"model":%q,"stream":false,"messages":[{"role":"user","content":"hi"}]}`, model)
}

// load has the box load a model, unseen by the proxy until it looks.
func (b *box) load(model string) {
	r := httptest.NewRequestWithContext(context.Background(), "POST", "http://localhost/api/generate", strings.NewReader(fmt.Sprintf(`{"model":%q}`, model)))
	w := httptest.NewRecorder()
	b.ollama.ServeHTTP(w, r)
	if w.Code != 200 {
		b.t.Fatalf("%s cannot load %s: %s", b.name, model, w.Body)
	}
}
