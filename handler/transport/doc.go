// Package transport sends requests to one Ollama: an http.RoundTripper that works in
// the goroutine of its caller.
//
// Connections are kept and lent to one request at a time, the last one returned first;
// before one is used again, a look makes sure that it is open and quiet. A request
// whose body is in memory leaves in one write. Simple answers are read here, see
// package http1; for all others net/http reads head and body. Cancelling a request's
// context closes its connection at once: that is how Ollama learns that it may stop.
//
// A request on a connection that was used before is sent again on a new one, once, if
// no byte of it has left, or if it is GET or HEAD and no byte of an answer has come.
// An answer that breaks off ends in an error, never in io.EOF.
//
// Bounds: 1,024 idle connections for 90 s, 10 s to connect, 256 KiB for the head of an
// answer, 5 interim answers.
package transport
