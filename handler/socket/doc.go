// Package socket wraps TCP connections so that a read borrows its buffer only once
// there is something to read.
//
// [New] wraps a *net.TCPConn. The result is a net.Conn like any other, and also a
// [ReadBuffer]: ReadBuffer waits without a buffer, borrows one from a pool when bytes
// have arrived, and lends it to the caller, who gives it back with [Buffer.Release].
// The bytes are valid until then and not a moment longer. If ReadBuffer returns an
// error, there is no buffer and nothing has been read.
//
// On Linux, without the race detector and on 64-bit machines, reads and writes are
// direct, non-blocking system calls that Go's scheduler is not told of; they return at
// once, and the goroutine waits in Go's poller as always. Elsewhere net's own calls
// do the same under the same contract, but hold a buffer while they wait. Errors have
// the form that package net gives them.
//
// Reading and writing are each for one goroutine at a time; a lock makes others wait.
// The package sets no deadlines and closes nothing.
package socket
