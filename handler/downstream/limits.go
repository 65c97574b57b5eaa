package downstream

import (
	"time"
)

// HeaderTimeout is how long a client may take for a request's head.
const HeaderTimeout = 10 * time.Second

// strangersTimeout is how long a client that never had a valid key may
// take to read why it is refused.
const strangersTimeout = 10 * time.Second

// IdleTimeout is how long a connection may wait for its next request where nobody
// says otherwise: 2 minutes.
const IdleTimeout = 2 * time.Minute

// MaxHeaderBytes bounds a request's head: 64 KiB.
const MaxHeaderBytes = 64 << 10

const (

	// MaxFrame bounds a frame of HTTP/2: 16 KiB, the least there is. A
	// connection keeps a buffer of its largest frame, key or no key, and left
	// to itself net/http lets that be 1 MiB.
	MaxFrame = 16 << 10
)

const CutGrace = time.Second

// Lingering is how long a client that has been refused may go on sending its
// body, so that it gets to read why.
const Lingering = time.Second

// MaxConnections is how many connections clients may have at once where
// nobody says otherwise.
const MaxConnections = 10_000

const (

	// maxSpare is how many connections at most carry no request, so that there
	// is one on which to hear that there is no room.
	maxSpare = 64
)

// WriteTimeout is how long to wait for a client that does not read.
func WriteTimeout(known bool, stalled time.Duration) time.Duration {
	if known {
		return stalled
	}
	return min(stalled, strangersTimeout)
}
