package upstream

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
)

// Request is what a pool has to know of a request, and where it is.
type Request struct {
	Model atomic.Pointer[string] // canonical; nil: not known
	Named string                 // the Ollama that is to have it, and no other; "": any
	At    *placement             // of the backend that it is sent to; nil: there is none, or but one
	Body  body.Body
}

// moveTo has the request be at o's backend, which has counted it in.
func (x *Request) moveTo(p *placement, out *http.Request, choice string) {
	x.Leave()
	x.At = p
	p.pool.Recorder.UpstreamEntered(p.number, choice)
	out.URL.Scheme, out.URL.Host = p.url.Scheme, p.url.Host
	out.Body = x.Body.ReadCloser()
}

// Leave has the request be nowhere.
func (x *Request) Leave() {
	if x.At != nil {
		x.At.leave()
		x.At.pool.Recorder.UpstreamDone(x.At.number)
		x.At = nil
	}
}

// repeatable reports whether the request can be sent once more.
func (x *Request) repeatable() bool { return x.Body.Large == nil }

// copyFor is the request as it goes to one of several backends.
func (x *Request) copyFor(ctx context.Context, b *backend, out *http.Request, method string) *http.Request {
	r := out.Clone(ctx)
	r.Method = method
	r.URL.Scheme, r.URL.Host = b.url.Scheme, b.url.Host
	r.Body = x.Body.ReadCloser()
	return r
}
