// Package handler is the proxy itself: it lets in requests with a valid key,
// on the routes of its table, and relays them to Ollama.
//
// # How a request is relayed
//
// A request in the clear that is plain, with nothing in it that could be read in
// two ways, is read here, in the goroutine of its connection; all others, and all
// over TLS, are read by net/http's server, which takes twice as much for one.
// Either calls [Proxy.ServeHTTP], and all that follows happens in that goroutine.
// The steps that [New] chains either
// answer it themselves or call the next: observe reports how it ends, in
// whichever way; authenticate checks the key; authorize the route, the class and
// the address; admit puts the exchange into the set of those that run, where
// others can cut it; spend takes it from the key's budgets; open reads a small
// body and checks the model that it names, or arranges for a large one to be
// checked in passing; relay does the rest. A model that no list has is looked for
// before it is allowed: it may be one that Ollama would run at ollama.com.
//
// relay writes the request to a connection of its own, in one write where the
// body is in memory, and reads the answer's head from it; one that is not plain is
// left to net/http here, too. Then it waits, with no buffer, until something has
// come; borrows a buffer, reads what there is, takes the framing out in its place,
// writes it to the client, flushes, and gives the buffer back. Nothing is held, merged or
// looked at, but for a copy of the last KiB, in which Ollama's token counts
// stand. At the answer's end the connection waits for the next request.
//
// What ends an exchange early, ends it through its lifetime: the client leaves,
// its key is revoked, the grace of a shutdown is over, or nothing has moved for
// too long. The lifetime then makes the connection to Ollama fail, so that
// Ollama stops, and the failed read or write returns in the one goroutine, which
// asks the lifetime why. If the answer's head has not been sent, the client gets
// a status; otherwise an event of the stream, and in any case a connection that
// breaks: an answer that is not whole never looks it.
package handler

import (
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/access"
	"github.com/ollama-proxy/ollama-proxy/handler/body"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
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
	Upstream *url.URL // where Ollama is: scheme and host; not needed with Upstreams
	Keys     KeyVerifier
	Recorder Recorder
	Log      *slog.Logger

	// Upstreams are the Ollamas, in place of Upstream. If there are several,
	// each request goes to the one that suits it best.
	Upstreams []upstream.Upstream

	// UpstreamsChange says that others may follow, see [Proxy.ReloadUpstreams].
	UpstreamsChange bool

	// Resolver looks up the hosts of Ollamas that are to be discovered. Nil
	// means the system's.
	Resolver *net.Resolver

	// Transport sends requests to the one Ollama. Nil means [NewTransport].
	Transport http.RoundTripper

	// MaxBody is the most bytes that a request's body may have, uploads of
	// blobs apart. 0 means 64 MiB.
	MaxBody int64

	// MaxBodyMemory bounds the memory that all bodies together take beyond what
	// is ordinary. 0 means 256 MiB.
	MaxBodyMemory int64

	// MaxInFlight is the most requests that may be in flight at once; more
	// get 503. 0 means no bound but the one that a Server sets, see
	// [Server.MaxConnections].
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

	// AllowCloud lets requests for models of ollama.com pass, and those that
	// have Ollama search the web, on the account of the host's owner.
	AllowCloud bool

	// StallTimeout is how long a transfer may go without a byte, in either
	// direction. 0 means 5 minutes.
	StallTimeout time.Duration
}

// Proxy is the http.Handler that faces the clients.
type Proxy struct {
	Options
	running running
	cuts    atomic.Uint64 // how often revoked keys were cut
	pool    *upstream.Pool
	budgets access.Budgets
	bodies  body.Budget
	handle  step

	uploading, waiting, passing, streaming phase
}

// maxLook is how late a limit on waiting may be kept.
const maxLook = 500 * time.Millisecond

// step is one stage in the life of a request. A stage that ends it does not
// call the next one.
type step func(*exchange)

// New returns a Proxy. It connects to nothing before the first request.
func New(o Options) *Proxy {
	if len(o.Upstreams) == 0 {
		o.Upstreams = []upstream.Upstream{{Name: o.Upstream.Host, URL: o.Upstream, Weight: 1}}
	}
	o.Upstreams = slices.Clone(o.Upstreams)
	alone := len(o.Upstreams) == 1 && !o.Upstreams[0].Discover && !o.UpstreamsChange
	if alone {
		only := &o.Upstreams[0]
		o.Upstream = only.URL
		if o.Transport == nil {
			o.Transport = transport.New(o.Upstream)
		}
		only.Over = o.Transport
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
	p := &Proxy{Options: o, bodies: body.Budget{Max: cmp.Or(o.MaxBodyMemory, body.MaxBodies)}}
	p.pool = upstream.New(upstream.Options{Recorder: o.Recorder, Logger: o.Log, Resolver: o.Resolver, Open: o.AllowCloud}, o.Upstreams, alone)
	p.running.max = o.MaxInFlight
	p.running.look = min(maxLook, o.StallTimeout/10+1, o.FirstByteTimeout/10+1)
	p.uploading = phase{o.StallTimeout, errStalled}
	p.waiting = phase{o.FirstByteTimeout, errNoFirstByte}
	p.passing = phase{o.StallTimeout, errStalled}
	p.streaming = p.passing
	p.handle = p.observe(p.authenticate(p.authorize(p.admit(p.spend(p.open(p.relay))))))
	return p
}

// ServeHTTP serves one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.handle(newExchange(w, r))
}
