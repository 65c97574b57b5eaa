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

// Box is one of several Ollamas behind a proxy.
type Box struct {
	t              *testing.T
	Name           string
	Ollama         *standin.Ollama
	server         *httptest.Server
	Address        string                                                        // host:port
	Fault          atomic.Pointer[func(http.ResponseWriter, *http.Request) bool] // answers a request in its place, unless it returns false
	Probes         atomic.Int32                                                  // requests of the proxy's own
	listProbes     atomic.Int32                                                  // probes of the list of models that are being answered
	PeakListProbes atomic.Int32                                                  // the most of listProbes so far
	Asked          chan string                                                   // receives the path of each request that is no probe
}

// NewBox starts a Box until the test ends.
func NewBox(t *testing.T, name string, o standin.Options) *Box {
	t.Helper()
	b := &Box{t: t, Name: name, Ollama: standin.New(o), Asked: make(chan string, 10_000)}
	b.open(Listen(t))
	t.Cleanup(func() { b.Close() })
	return b
}

// open serves the listener.
func (b *Box) open(l net.Listener) {
	b.server = httptest.NewUnstartedServer(b)
	b.server.Listener.Close()
	b.server.Listener = l
	b.server.Start()
	b.Address = l.Addr().String()
}

// Close closes the Box's listener and its connections, as if its process had died.
func (b *Box) Close() {
	b.server.Listener.Close()
	b.server.CloseClientConnections()
	b.server.Close()
}

// Reopen serves on the same address again after Close.
func (b *Box) Reopen() { b.open(ListenAt(b.t, b.Address)) }

// ServeHTTP implements http.Handler.
func (b *Box) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if IsProbe(r) {
		b.Probes.Add(1)
		if r.URL.Path == "/api/tags" {
			for n, peak := b.listProbes.Add(1), b.PeakListProbes.Load(); n > peak && !b.PeakListProbes.CompareAndSwap(peak, n); peak = b.PeakListProbes.Load() {
			}
			defer b.listProbes.Add(-1)
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

// Upstream returns the Box for handler.Options.Upstreams.
func (b *Box) Upstream() upstream.Upstream {
	return upstream.Upstream{Name: b.Name, URL: &url.URL{Scheme: "http", Host: b.Address}, Weight: 1}
}

// AnswerWith answers requests with h from now on, except probes.
func (b *Box) AnswerWith(h http.HandlerFunc) {
	f := func(w http.ResponseWriter, r *http.Request) bool { h(w, r); return true }
	b.Fault.Store(&f)
}

// AnswerBusy answers as an Ollama whose queue is full.
func AnswerBusy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprint(w, `{"error":"server busy, please try again.  maximum pending requests exceeded"}`)
}

// ResetConnection resets the connection without an answer.
func ResetConnection(w http.ResponseWriter, _ *http.Request) {
	c, _, _ := w.(http.Hijacker).Hijack()
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// Requests returns how many requests the Box got, without probes.
func (b *Box) Requests() int { return len(b.Asked) }

// StartPool starts a proxy with several Ollamas, and waits until it has probed each.
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
		if !slices.ContainsFunc(boxes, func(b *Box) bool { return b.Probes.Load() < 2 }) && i >= len(boxes) {
			return s
		}
	}
}

// ForModel returns the body of a small chat with the model.
func ForModel(model string) string {
	return fmt.Sprintf(`{"model":%q,"stream":false,"messages":[{"role":"user","content":"hi"}]}`, model)
}

// Load makes the Box load a model. The proxy learns of it with the next probe.
func (b *Box) Load(model string) {
	r := httptest.NewRequestWithContext(context.Background(), "POST", "http://localhost/api/generate", strings.NewReader(fmt.Sprintf(`{"model":%q}`, model)))
	w := httptest.NewRecorder()
	b.Ollama.ServeHTTP(w, r)
	if w.Code != 200 {
		b.t.Fatalf("%s cannot load %s: %s", b.Name, model, w.Body)
	}
}
