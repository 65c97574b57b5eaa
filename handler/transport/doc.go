// Package transport sends requests to one Ollama: an http.RoundTripper that works in
// the goroutine of its caller.
//
// Connections are kept and serve one request at a time; the one used last is used next,
// after a check that it is still open and that nothing has arrived on it. A request
// whose body is in memory is sent in one write. Simple responses are read here, see
// package http1; net/http reads the head and the body of all others. Cancelling a
// request's context closes its connection at once: this is how Ollama learns that it may
// stop.
//
// A request that fails on a connection that was used before is sent again on a new one,
// once, if no byte of it was written, or if it is GET or HEAD and no byte of a response
// has arrived. A response that is cut off ends in an error, never in io.EOF.
//
// Bounds: 1,024 idle connections for 90 s, 10 s to connect, 256 KiB for the head of a
// response, 5 interim responses. A [ConnLimit] bounds the connections of several
// Transports together. There is no time limit for a response: its caller sets one
// through the context.
//
// The package follows no redirects, keeps no cookies, uses no forward proxy and speaks
// no HTTP/2.
package transport
