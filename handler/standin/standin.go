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
	registry []string // what a pull finds
	born     time.Time
	ledger   ledger

	mu        sync.Mutex
	installed []string             // in the order in which they are listed
	loaded    map[string]time.Time // since when
	remote    map[string]bool      // run at ollama.com, whatever they are called
	blobs     map[[sha256.Size]byte]bool
}

// Options say how a stand-in behaves. The zero value answers as fast as it can.
type Options struct {
	// Pace is the pause before each token after the first. It ends early when the request's context does.
	Pace time.Duration

	// Models is the catalogue. If it is empty there are tiny:latest, other:1b, llama3.2:latest, qwen3:8b and
	// nomic-embed-text:latest. A name that is no model's name is left out.
	Models []string

	// Remote are models of the catalogue, or more of them, that run at ollama.com though their names do not say so.
	Remote []string

	// Step lets a test decide when the next chunk leaves: if it is not nil, every chunk of a stream after the
	// first waits for one receive from it or for the end of the request's context. Closing it lets everything go.
	Step <-chan struct{}
}

// New returns a stand-in that has all models of the catalogue installed and none loaded.
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

// Install puts a model into the store, as if somebody had made it on this machine. With remote it is one that runs at
// ollama.com, whatever it is called. A name that is no model's name is left out.
func (o *Ollama) Install(model string, remote bool) {
	if name := Stored(model); name != "" {
		o.install(name, remote)
	}
}

// ServeHTTP answers one request as an Ollama would. Every request is remembered, refused ones too.
func (o *Ollama) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{o: o, w: w, r: r, start: time.Now()}
	x.seen = o.ledger.arrive(r)
	defer x.seen.close() // deferred, because killing a connection is a panic

	x.route = find(r.Method, r.URL.Path)
	x.refusal = x.guard()
	x.takeBody()
	if x.refusal == nil && x.unread == nil && x.fault == "" {
		x.readAsk()
	}
	x.seen.Model, x.seen.Account = x.model(), x.charged()
	o.ledger.publish(x.seen)

	if x.refusal != nil {
		x.refusal()
		return
	}
	if x.misbehave() {
		return
	}
	x.route.serve(x)
	if x.halves() {
		x.stop() // the answer was over, or the client gone, before it could break off
	}
}

// exchange is one request on its way to its answer.
type exchange struct {
	o       *Ollama
	w       http.ResponseWriter
	r       *http.Request
	seen    *Seen
	route   *route
	refusal func() // answers a request that no route gets to see
	body    []byte
	ask     ask
	unread  error // why the body could not be read as ask
	fault   string
	start   time.Time
}

// wait blocks until ready yields and reports whether the client is still there.
func (x *exchange) wait(ready <-chan struct{}) bool {
	select {
	case <-ready:
		return x.r.Context().Err() == nil
	case <-x.r.Context().Done():
		return false
	}
}

// pause lets n paces pass and reports whether the client is still there.
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
