package handler

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
)

// upstreamRequest is what a pool has to know of a request, and where it is.
type upstreamRequest struct {
	model atomic.Pointer[string] // canonical; nil: not known
	named string                 // the Ollama that is to have it, and no other; "": any
	at    *offer                 // of the member that it is sent to; nil: there is none, or but one
	body  body.Body
}

// moveTo has the request be at o's member, which has counted it in.
func (x *upstreamRequest) moveTo(o *offer, out *http.Request, choice string) {
	x.leave()
	x.at = o
	o.pool.recorder.UpstreamEntered(o.number, choice)
	out.URL.Scheme, out.URL.Host = o.url.Scheme, o.url.Host
	out.Body = x.body.ReadCloser()
}

// leave has the request be nowhere.
func (x *upstreamRequest) leave() {
	if x.at != nil {
		x.at.leave()
		x.at.pool.recorder.UpstreamDone(x.at.number)
		x.at = nil
	}
}

// repeatable reports whether the request can be sent once more.
func (x *upstreamRequest) repeatable() bool { return x.body.Large == nil }

// copyFor is the request as it goes to one of several members.
func (x *upstreamRequest) copyFor(ctx context.Context, m *member, out *http.Request, method string) *http.Request {
	r := out.Clone(ctx)
	r.Method = method
	r.URL.Scheme, r.URL.Host = m.url.Scheme, m.url.Host
	r.Body = x.body.ReadCloser()
	return r
}
