// Package handler is the proxy itself: it lets in requests with a valid key,
// on the routes of its table, and relays them to Ollama.
package handler

import (
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// KeyVerifier tells genuine keys from others; [signer.Verifier] is one. An
// error is one of the reasons that package signer names.
type KeyVerifier interface {
	Verify(text string, now time.Time) (signer.Key, error)
}

// Options says what a Proxy works with. Upstream, Keys, Recorder and Log are
// needed.
type Options struct {
	Upstream *url.URL // where Ollama is: scheme and host
	Keys     KeyVerifier
	Recorder Recorder
	Log      *slog.Logger

	// Transport sends requests to Ollama. Nil means [NewTransport].
	Transport http.RoundTripper

	// MaxBody is the most bytes that a request's body may have, uploads of
	// blobs apart. 0 means 64 MiB.
	MaxBody int64

	// MaxInFlight is the most requests that may be in flight at once; more
	// get 503. 0 means no bound.
	MaxInFlight int

	// FirstByteTimeout is how long Ollama may take for the head of its
	// answer: loading a model and waiting in its queue count. 0 means 15
	// minutes.
	FirstByteTimeout time.Duration

	// Heartbeat is how often a client that has asked for a stream of events
	// is told, in a comment, that Ollama's answer has not begun. 0 means
	// never: then an error of Ollama's still gets its own status.
	Heartbeat time.Duration

	// TrustedProxies are the networks whose X-Forwarded-For counts.
	TrustedProxies []netip.Prefix

	// AllowCloud lets requests for models of ollama.com pass, on the account
	// of the host's owner.
	AllowCloud bool

	// StallTimeout is how long a transfer may go without a byte, in either
	// direction. 0 means 5 minutes.
	StallTimeout time.Duration
}

// Proxy is the http.Handler that faces the clients.
type Proxy struct {
	Options
	running running
	cuts    atomic.Uint64                   // how often revoked keys were cut
	known   atomic.Pointer[map[string]bool] // the models that Ollama lists
	budgets budgets
	handle  step

	uploading, waiting, passing phase
}

// maxLook is how late a limit on waiting may be kept.
const maxLook = 500 * time.Millisecond

// step is one stage in the life of a request. A stage that ends it does not
// call the next one.
type step func(*exchange)

// New returns a Proxy. It connects to nothing before the first request.
func New(o Options) *Proxy {
	if o.Transport == nil {
		o.Transport = NewTransport(o.Upstream)
	}
	if o.MaxBody == 0 {
		o.MaxBody = 64 << 20
	}
	if o.FirstByteTimeout == 0 {
		o.FirstByteTimeout = 15 * time.Minute
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = 5 * time.Minute
	}
	p := &Proxy{Options: o}
	p.running.max = o.MaxInFlight
	p.running.look = min(maxLook, o.StallTimeout/10+1, o.FirstByteTimeout/10+1)
	p.uploading = phase{o.StallTimeout, errStalled}
	p.waiting = phase{o.FirstByteTimeout, errNoFirstByte}
	p.passing = phase{o.StallTimeout, errStalled}
	p.handle = p.observe(p.authenticate(p.authorize(p.admit(p.spend(p.open(p.relay))))))
	return p
}

// ServeHTTP serves one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.handle(newExchange(w, r))
}
