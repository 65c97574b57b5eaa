// Package downstream accepts clients' connections, bounds how many there are and how
// long they may take, and serves the simple requests among theirs.
//
// A [Listener] keeps no more connections than its limit. A connection without a valid
// key makes way for a new one, the oldest first, so that strangers cannot keep key
// holders out. What connections without a key may make the process hold is bounded
// for all of them together.
//
// A [SimpleServer] serves requests in the clear that are simple, see package http1,
// in one goroutine per connection, which holds no buffer while it waits. With the
// first request that is not simple, the connection goes to net/http for good, with all
// bytes read so far: it is still net/http that faces what the internet sends. That a
// client has left is learned from the kernel (epoll); where that is not possible,
// net/http serves everything.
//
// Limits that both sides of a client's connection share stand in limits.go.
package downstream
