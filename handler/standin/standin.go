package standin

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Ollama is a stand-in for an Ollama server. Its methods may be called concurrently.
type Ollama struct {
	pace     time.Duration
	step     <-chan struct{}
	registry []string // the models that a pull finds
	born     time.Time
	log      requestLog

	mu        sync.Mutex
	installed []string             // in the order in which they are listed
	loaded    map[string]time.Time // when each was last used
	remote    map[string]bool      // they run at ollama.com
	blobs     map[[sha256.Size]byte]bool
}

// Options configure a stand-in. With the zero value it answers as fast as it can.
type Options struct {
	// Pace is the pause before each token after the first. It ends early when the request's context does.
	Pace time.Duration

	// Models is the catalogue; the default is tiny:latest, other:1b, llama3.2:latest, qwen3:8b and
	// nomic-embed-text:latest. A name that no model can have is ignored.
	Models []string

	// Remote are models, in the catalogue or besides, that run at ollama.com although their names do not say so.
	Remote []string

	// Step lets a test decide when the next chunk is sent. If it is not nil, each chunk of a stream after the first
	// waits for one value from Step, or for the end of the request's context. Closing Step releases all chunks.
	Step <-chan struct{}
}

// New returns a stand-in with all models of the catalogue installed and none loaded.
func New(o Options) *Ollama {
	models := o.Models
	if len(models) == 0 {
		models = []string{"tiny:latest", "other:1b", "llama3.2:latest", "qwen3:8b", "nomic-embed-text:latest"}
	}
	var registry []string
	remote := make(map[string]bool)
	for _, m := range o.Remote {
		remote[Stored(m)] = true
	}
	for _, m := range slices.Concat(models, o.Remote) {
		if m = Stored(m); m != "" && !slices.Contains(registry, m) {
			registry = append(registry, m)
		}
	}
	return &Ollama{
		pace:      o.Pace,
		step:      o.Step,
		registry:  registry,
		born:      time.Now().UTC(),
		installed: slices.Clone(registry),
		loaded:    make(map[string]time.Time),
		remote:    remote,
		blobs:     make(map[[sha256.Size]byte]bool),
	}
}

// Install adds a model to the store, as if it had been created on this machine. If remote is set, the model runs at
// ollama.com. A name that no model can have is ignored.
func (o *Ollama) Install(model string, remote bool) {
	if name := Stored(model); name != "" {
		o.install(name, remote)
	}
}

// ServeHTTP answers one request as an Ollama would. Every request is remembered, also if it is refused.
func (o *Ollama) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{o: o, w: w, r: r, start: time.Now()}
	x.seen = o.log.arrive(r)
	defer x.seen.close() // deferred, since breaking off a connection is a panic

	x.route = find(r.Method, r.URL.Path)
	x.refusal = x.guard()
	x.readBody()
	if x.refusal == nil && x.bodyErr == nil && x.fault == "" {
		x.readQuery()
	}
	x.seen.Model, x.seen.Account = x.model(), x.accountUse()
	o.log.publish(x.seen)

	if x.refusal != nil {
		x.refusal()
		return
	}
	if x.misbehave() {
		return
	}
	x.route.serve(x)
	if x.breaksOff() {
		x.breakOff() // the answer had too few chunks to break off earlier
	}
}

// exchange is one request and the state of its answer.
type exchange struct {
	o       *Ollama
	w       http.ResponseWriter
	r       *http.Request
	seen    *Seen
	route   *route
	refusal func() // answers a request that is refused before its route serves it
	body    []byte
	query   query
	bodyErr error // why the body could not be read as ask
	fault   string
	start   time.Time
}

// wait waits for a value from ready, or for the client to leave. It reports whether the client is still there.
func (x *exchange) wait(ready <-chan struct{}) bool {
	select {
	case <-ready:
		return x.r.Context().Err() == nil
	case <-x.r.Context().Done():
		return false
	}
}

// pause waits for n times Options.Pace, or for the client to leave. It reports whether the client is still there.
func (x *exchange) pause(n int) bool {
	ctx := x.r.Context()
	if x.o.pace > 0 {
		select {
		case <-time.After(time.Duration(n) * x.o.pace):
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}
