package upstream

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
)

// Request is what a pool must know about a request, and the backend that has it. It is
// for one goroutine, apart from Model.
type Request struct {
	Model atomic.Pointer[string] // canonical name; nil: not known, or none
	Named string                 // the only Ollama that may get it; "": any
	At    *placement             // where it is; nil: nowhere, or there is a single Ollama
	Body  body.Body              // what is sent
}

// moveTo records that the request is at p's backend, which has counted it in, and
// addresses it there.
func (x *Request) moveTo(p *placement, out *http.Request, choice string) {
	x.Leave()
	x.At = p
	p.pool.Recorder.UpstreamEntered(p.number, choice)
	out.URL.Scheme, out.URL.Host = p.url.Scheme, p.url.Host
	out.Body = x.Body.ReadCloser()
}

// Leave counts the request out at its backend, if it is at one.
func (x *Request) Leave() {
	if x.At != nil {
		x.At.leave()
		x.At.pool.Recorder.UpstreamDone(x.At.number)
		x.At = nil
	}
}

// repeatable reports whether the request can be sent again.
func (x *Request) repeatable() bool { return x.Body.Large == nil }

// copyFor returns a copy of the request for one backend.
func (x *Request) copyFor(ctx context.Context, b *backend, out *http.Request, method string) *http.Request {
	r := out.Clone(ctx)
	r.Method = method
	r.URL.Scheme, r.URL.Host = b.url.Scheme, b.url.Host
	r.Body = x.Body.ReadCloser()
	return r
}
