package handlertest

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
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

// Box is one of several Ollamas.
type Box struct {
	t      *testing.T
	Name   string
	Ollama *standin.Ollama
	server *httptest.Server
	At     string                                                        // host:port
	Fault  atomic.Pointer[func(http.ResponseWriter, *http.Request) bool] // answers in its place; false: does not
	Looks  atomic.Int32                                                  // of the proxy's own
	now    atomic.Int32                                                  // looks at its list that it is answering
	Peak   atomic.Int32                                                  // the most of these at once
	Asked  chan string                                                   // the path of each request that reaches it
}

// NewBox runs one with the given models, or those of any stand-in.
func NewBox(t *testing.T, name string, o standin.Options) *Box {
	t.Helper()
	b := &Box{t: t, Name: name, Ollama: standin.New(o), Asked: make(chan string, 10_000)}
	b.open(Listen(t))
	t.Cleanup(func() { b.Close() })
	return b
}

func (b *Box) open(l net.Listener) {
	b.server = httptest.NewUnstartedServer(b)
	b.server.Listener.Close()
	b.server.Listener = l
	b.server.Start()
	b.At = l.Addr().String()
}

// Close kills it: nothing is accepted any more, and what runs breaks off.
func (b *Box) Close() {
	b.server.Listener.Close()
	b.server.CloseClientConnections()
	b.server.Close()
}

// Reopen has it come back where it was.
func (b *Box) Reopen() { b.open(ListenAt(b.t, b.At)) }

func (b *Box) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if IsWatch(r) {
		b.Looks.Add(1)
		if r.URL.Path == "/api/tags" {
			for n, peak := b.now.Add(1), b.Peak.Load(); n > peak && !b.Peak.CompareAndSwap(peak, n); peak = b.Peak.Load() {
			}
			defer b.now.Add(-1)
		}
		b.Ollama.ServeHTTP(w, r)
		return
	}
	b.Asked <- r.URL.Path
	if fault := b.Fault.Load(); fault != nil && (*fault)(w, r) {
		return
	}
	b.Ollama.ServeHTTP(w, r)
}

func (b *Box) Upstream() upstream.Upstream {
	return upstream.Upstream{Name: b.Name, URL: &url.URL{Scheme: "http", Host: b.At}, Weight: 1}
}

// Fails has it answer requests, though not looks, like this from now on.
func (b *Box) Fails(how func(http.ResponseWriter, *http.Request)) {
	f := func(w http.ResponseWriter, r *http.Request) bool { how(w, r); return true }
	b.Fault.Store(&f)
}

func IsBusy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprint(w, `{"error":"server busy, please try again.  maximum pending requests exceeded"}`)
}

// Breaks resets the connection before any of the answer.
func Breaks(w http.ResponseWriter, _ *http.Request) {
	c, _, _ := w.(http.Hijacker).Hijack()
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// Requests is how many it got that were not looks.
func (b *Box) Requests() int { return len(b.Asked) }

// StartPool runs a proxy before several Ollamas, and waits until it has looked at
// each.
func StartPool(t *testing.T, c Config, boxes ...*Box) *Site {
	t.Helper()
	change := c.Proxy
	c.Proxy = func(o *handler.Options) {
		for _, b := range boxes {
			o.Upstreams = append(o.Upstreams, b.Upstream())
		}
		if change != nil {
			change(o)
		}
	}
	s := Start(t, c)
	for i := 1; ; i++ {
		s.Spy.Await(t, "UpstreamUp", i)
		if !slices.ContainsFunc(boxes, func(b *Box) bool { return b.Looks.Load() < 2 }) && i >= len(boxes) {
			return s
		}
	}
}

// ForModel is a small chat that asks for one.
func ForModel(model string) string {
	return fmt.Sprintf(`{"model":%q,"stream":false,"messages":[{"role":"user","content":"hi"}]}`, model)
}

// Load has the box load a model, unseen by the proxy until it looks.
func (b *Box) Load(model string) {
	r := httptest.NewRequestWithContext(context.Background(), "POST", "http://localhost/api/generate", strings.NewReader(fmt.Sprintf(`{"model":%q}`, model)))
	w := httptest.NewRecorder()
	b.Ollama.ServeHTTP(w, r)
	if w.Code != 200 {
		b.t.Fatalf("%s cannot load %s: %s", b.Name, model, w.Body)
	}
}
