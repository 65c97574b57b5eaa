// Package handler contains the reverse proxy, an http.Handler: it authenticates requests
// by their API key, allows those on the routes of the table in package api, and relays
// them to Ollama.
//
// # The way of a request
//
// Package downstream reads simple requests without TLS, which no two servers could read
// differently, in the goroutine of their connection. net/http's server reads all others,
// at twice the cost. Both call [Proxy.ServeHTTP], and the whole request is handled in the
// calling goroutine.
//
// [New] chains the steps once; each step answers the request itself or calls the next:
//
//	observe       reports to the metrics and the log how the request ends
//	authenticate  verifies the key
//	authorize     checks the route, its class and the client's address
//	admit         adds the exchange to those in flight, from where it can be cut
//	spend         charges the key's rate limits; answers what is left of them
//	open          reads a small body and checks its model; a large one is checked as it passes
//	relay         sends the request to Ollama and the answer to the client
//
// Before a request for a model that Ollama does not list is allowed, the list is read
// again: Ollama might run the model at ollama.com.
//
// # The way of a chunk
//
// relay sends a request whose body is in memory in one write, and reads the head of the
// answer. Then it waits without a buffer. When bytes arrive, it borrows one, reads,
// removes the framing in place, writes to the client, flushes, and releases the buffer.
// Chunks are not held back, merged or rewritten. A copy of the last KiB is kept for the
// token counts, and a small state machine follows the stream to decide at its end whether
// it is complete.
//
// # Failure
//
// If the client leaves, the key is revoked, the grace of a shutdown is over, or a time
// limit has passed, the request's context is cancelled, see package reqctx. That closes
// the connection to Ollama, so that Ollama stops. The read or write that was under way
// fails in the request's goroutine, which asks the context for the cause. If no head has
// been sent, the client gets an error status. Otherwise it gets an error event, where its
// dialect has one, and the connection is broken off: an incomplete answer never looks
// complete.
//
// # Limits
//
// [Options] bounds bodies, the memory of all bodies, requests in flight and waiting times.
//
// The package opens no listener, reads no file and keeps nothing on disk: see package
// server.
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

// KeyVerifier verifies API keys; [signer.Verifier] implements it. Verify is called from
// many goroutines at once. It returns an error of package signer if the text is not a
// valid key at the given time. The client is told of signer.ErrExpired and
// signer.ErrRevoked, so Verify returns these only for keys whose tag is good.
type KeyVerifier interface {
	Verify(text string, now time.Time) (signer.Key, error)

	// Expires returns the moment from which Verify refuses the key, which it has found
	// good, as expired; zero: there is none.
	Expires(key *signer.Key) time.Time
}

// Options configure a [Proxy]. Upstream or Upstreams, Keys, Recorder and Log are required.
type Options struct {
	Upstream *url.URL // the scheme and host of the only Ollama; ignored if Upstreams is set
	Keys     KeyVerifier
	Recorder Recorder
	Log      *slog.Logger

	// Upstreams are the Ollamas, in place of Upstream. If there are several,
	// package upstream selects one for each request.
	Upstreams []upstream.Upstream

	// UpstreamsChange announces that the list of Ollamas may be replaced, see
	// [Proxy.ReloadUpstreams].
	UpstreamsChange bool

	// Resolver looks up the hosts of Upstreams that set Discover. Nil means the
	// system's.
	Resolver *net.Resolver

	// Transport sends requests to the only Ollama. Nil means [transport.New]. It is
	// not used where there are several Ollamas or UpstreamsChange is set.
	Transport http.RoundTripper

	// MaxBody is the most bytes that a request's body may have, except uploads of
	// blobs. 0 means 64 MiB.
	MaxBody int64

	// MaxBodyMemory is the most bytes that all bodies together may take in memory,
	// where the ordinary 16 KiB of each do not count. 0 means 256 MiB.
	MaxBodyMemory int64

	// MaxInFlight is the most requests that may be in flight at once; more get 503. 0
	// means no limit, until [Proxy.LimitInFlight] sets one.
	MaxInFlight int

	// FirstByteTimeout is how long Ollama may take for the head of its answer, including
	// the time to load a model and to wait in its queue. 0 means 15 minutes.
	FirstByteTimeout time.Duration

	// Heartbeat is the interval of silence after which a client that has asked for
	// server-sent events gets a heartbeat, before Ollama's answer begins and in its midst.
	// The first one commits the answer to status 200, and an error of Ollama follows as
	// an event. 0 means none: then an error of Ollama keeps its own status.
	Heartbeat time.Duration

	// DefaultLimits are for keys that were minted without an rpm or a streams caveat.
	DefaultLimits access.Defaults

	// OmitClientAddress leaves the addresses of clients out of the log.
	OmitClientAddress bool

	// TrustedProxies are the networks of the reverse proxies whose X-Forwarded-For is
	// believed.
	TrustedProxies []netip.Prefix

	// AllowCloud allows requests for models that run at ollama.com, and requests for
	// which Ollama searches the web. Both use the ollama.com account of Ollama's host.
	AllowCloud bool

	// StallTimeout is how long a transfer may go without a byte, in either
	// direction. 0 means 5 minutes.
	StallTimeout time.Duration
}

// Proxy is the reverse proxy: an http.Handler for the requests of clients. [New] makes
// one; its Options must not be changed then.
type Proxy struct {
	Options
	running running
	cuts    atomic.Uint64 // calls of CutRevoked
	pool    *upstream.Pool
	budgets access.Budgets
	bodies  body.Budget
	handle  step

	uploading, waiting, passing, streaming phase
}

// maxCheckInterval bounds the interval at which time limits are checked, and so how late
// a request may be ended by one.
const maxCheckInterval = 500 * time.Millisecond

// step handles one stage of a request. It either answers the request or calls the next
// step.
type step func(*exchange)

// New returns a Proxy. It opens no connection before the first request.
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
	p.running.checkInterval = min(maxCheckInterval, o.StallTimeout/10+1, o.FirstByteTimeout/10+1)
	p.uploading = phase{o.StallTimeout, errStalled}
	p.waiting = phase{o.FirstByteTimeout, errNoFirstByte}
	p.passing = phase{o.StallTimeout, errStalled}
	p.streaming = p.passing
	p.handle = p.observe(p.authenticate(p.authorize(p.admit(p.spend(p.open(p.relay))))))
	return p
}

// ServeHTTP implements http.Handler. It panics with http.ErrAbortHandler to break off an
// answer that is incomplete.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.handle(newExchange(w, r))
}
