// Package handler is the proxy itself: an http.Handler that lets in requests with a
// valid key, on the routes of the table in package api, and relays them to Ollama.
//
// # The way of a request
//
// Simple requests in the clear, with nothing in them that two servers could read
// differently, are read by package downstream in the goroutine of their connection.
// All others, and all over TLS, are read by net/http's server, which takes twice as
// much for each. Both call [Proxy.ServeHTTP], and everything that follows happens in
// that goroutine.
//
// [New] chains the steps once; each step answers the request itself or calls the next:
//
//	observe       reports how the request ends, in whichever way
//	authenticate  verifies the key
//	authorize     checks the route, its class and the client's address
//	admit         adds the exchange to those in flight, where others can cut it
//	spend         charges the key's rate limits; says what is left where that is asked
//	open          reads a small body and checks its model; a large one is checked in passing
//	relay         sends the request to Ollama and passes the answer on
//
// A model that is in no list of Ollama's is looked up before it is allowed: Ollama
// might run it at ollama.com.
//
// # The way of a chunk
//
// relay writes a request whose body is in memory in one write, and reads the head of
// the answer. Then it waits without a buffer. When bytes have come it borrows one,
// reads, removes the framing in place, writes to the client, flushes, and releases the
// buffer. No chunk is held, merged or rewritten. A copy of the last KiB is kept, for
// the token counts, and a small state machine follows the stream, to tell at its end
// whether it is whole.
//
// # What ends a request early
//
// A client that leaves, a revoked key, the end of a shutdown's grace, or a time limit
// cancels the request's context, see package reqctx. That closes the connection to
// Ollama, so that Ollama stops; the read or write that fails returns in the one
// goroutine, which asks the context for the cause. If no head has been sent, the
// client gets a status. Otherwise it gets an error event where its dialect has one, and
// a broken connection: an answer that is not whole never looks whole.
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

	// Expires returns the moment from which Verify refuses the key, which it has found
	// good, as expired; zero: there is none.
	Expires(key *signer.Key) time.Time
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

	// DefaultLimits are for keys that were minted without an rpm or a streams caveat.
	DefaultLimits access.Defaults

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
		only.RoundTripper = o.Transport
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
	p.pool = upstream.New(upstream.Options{Recorder: o.Recorder, Logger: o.Log, Resolver: o.Resolver, AllowRemote: o.AllowCloud}, o.Upstreams, alone)
	p.budgets.Defaults = o.DefaultLimits
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
