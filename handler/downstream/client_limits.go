package downstream

import (
	"time"
)

// HeaderTimeout is how long a client may take to send the head of a request: 10 seconds.
const HeaderTimeout = 10 * time.Second

// unauthenticatedTimeout is how long a write to a client may take that has not shown a
// valid key: 10 seconds to read why it is refused.
const unauthenticatedTimeout = 10 * time.Second

// IdleTimeout is how long a connection may wait for its next request unless
// [ListenerOptions] says otherwise: 2 minutes.
const IdleTimeout = 2 * time.Minute

// MaxHeaderBytes bounds a request's head: 64 KiB.
const MaxHeaderBytes = 64 << 10

// MaxFrame bounds a frame of HTTP/2: 16 KiB, the smallest limit that the protocol
// allows. A connection keeps a buffer of the size of its largest frame, with a valid key
// or without, and net/http's default limit is 1 MiB.
const MaxFrame = 16 << 10

// CutGrace is how long a client may take to read why its request was cut, before the
// connection breaks: one second.
const CutGrace = time.Second

// Lingering is how long a client that has been refused may go on sending its body
// before the connection is closed, so that it can read the answer: one second.
const Lingering = time.Second

// MaxConnections is how many connections clients may have at once by default.
const MaxConnections = 10_000

// maxReserve bounds how many of a listener's connections are reserved for clients whose
// requests are refused with 503, since all other connections carry requests.
const maxReserve = 64

// WriteTimeout returns how long a write may wait for a client that does not read:
// stallTimeout once the client has shown a valid key, at most 10 seconds before.
func WriteTimeout(authenticated bool, stallTimeout time.Duration) time.Duration {
	if authenticated {
		return stallTimeout
	}
	return min(stallTimeout, unauthenticatedTimeout)
}
