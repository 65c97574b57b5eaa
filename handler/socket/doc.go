// Package socket wraps TCP connections so that a read borrows its buffer only once
// there is something to read.
//
// [New] wraps a *net.TCPConn. The result is a net.Conn like any other, and also a
// [BufferReader]: ReadBuffer waits without a buffer, borrows one from a pool when bytes
// have arrived, and lends it to the caller, who gives it back with [Buffer.Release].
// The bytes are valid until then and not a moment longer. If ReadBuffer returns an
// error, there is no buffer and nothing has been read.
//
// On 64-bit Linux without the race detector, reads and writes are non-blocking system
// calls that Go's scheduler does not see; they return at once, and the goroutine waits
// in Go's poller as usual. Elsewhere package net's own calls fulfil the same contract,
// but hold a buffer while they wait. Errors have the form that package net gives them.
//
// Bounds: a buffer has 8 KiB ([HeadBuffers]) or 32 KiB ([ChunkBuffers]). One goroutine
// at a time can read, and one can write; a lock makes others wait. The package sets no
// deadlines and closes nothing.
package socket
