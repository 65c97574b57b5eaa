package downstream

import (
	"crypto/tls"
	"net/http"
	"sync"
	"time"
)

// An idleTimer closes a connection over TLS that waits for its next request for too
// long. net/http could do that, but over HTTP/2 it must not: when a connection ends in
// mid-stream, its server starts the idle timer once more after it has stopped it, and
// until that fires, nothing of what the connection held in memory is freed. A client
// without a key could make the proxy hold gigabytes with that.
type idleTimer struct {
	mu     sync.Mutex
	timer  *time.Timer // nil: it has not been idle yet
	waits  bool        // for a request
	warned bool        // the client knows that the connection is about to be closed
}

// goAwayTime is how long a client of HTTP/2 has from GOAWAY until its connection is
// closed: 5 seconds. What it has sent meanwhile is answered.
const goAwayTime = 5 * time.Second

// goAway is a frame of HTTP/2: all streams so far are served, and no further ones
// should be opened (RFC 9113 section 6.8).
var goAway = []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0}

// note records the state that net/http reports of the connection. It starts the timer if
// the connection is idle, and stops it otherwise.
func (t *idleTimer) note(state http.ConnState, conn *tls.Conn, timeout time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waits = state == http.StateIdle; !t.waits {
		if t.timer != nil {
			t.timer.Stop()
		}
		return
	}
	if t.warned {
		timeout = goAwayTime
	}
	if t.timer == nil {
		t.timer = time.AfterFunc(timeout, func() { t.fire(conn) })
	} else {
		t.timer.Reset(timeout)
	}
}

// fire closes the connection if it is still idle. A client of HTTP/2 gets GOAWAY first.
// The lock is held meanwhile: net/http waits for it in note before it begins an answer.
func (t *idleTimer) fire(conn *tls.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.waits:
	case !t.warned && conn.ConnectionState().NegotiatedProtocol == "h2":
		t.warned = true
		conn.Write(goAway)
		t.timer.Reset(goAwayTime)
	default:
		conn.Close()
	}
}
