// Package downstream accepts the connections of HTTP clients, limits their number, their
// memory and their time, and contains the HTTP/1.1 server of the simple requests.
//
// # Connections
//
// A [Listener] keeps no more connections than its limit. When the limit is reached, it
// closes a connection that is not in use for a new one, and first the oldest of those
// that never carried a valid key: so clients without a key cannot keep clients with a key
// out. The memory that connections without a valid key make the process hold is
// estimated and limited for all of them together, see unauthenticated_memory.go; where they hold too much,
// those that hold the most for the longest are closed.
//
// # Simple requests
//
// A [SimpleServer] serves simple requests without TLS, see package http1, in one
// goroutine per connection, which holds no buffer while it waits. With the first request
// that is not simple, the connection goes to net/http's server for good, with all bytes
// read so far, through a [Fallback]. So net/http still parses whatever is unusual. The
// kernel reports that a client has left ([Hangups], by epoll); where it cannot, net/http
// serves every connection.
//
// # Failure
//
// A connection that is closed to make room ends without an answer. A panic of a handler
// ends its connection and is logged. If a limit is reached, the log says so, at most
// once a minute.
//
// # Limits
//
// client_limits.go holds the time limits and sizes, for packages server and connect too.
//
// The package verifies no key and knows no routes: package handler reports with
// [Conn.Enter] that a request has a valid key.
package downstream
