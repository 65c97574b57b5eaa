package downstream

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// NewTestListener returns a Listener with the limits that a server has by default.
func NewTestListener(l net.Listener, stalled time.Duration) net.Listener {
	return NewListener(l, ListenerOptions{MaxConns: MaxConnections, StallTimeout: stalled, Log: slog.New(slog.DiscardHandler)})
}

// ServeSimple serves a listener with a SimpleServer whose handler holds the write
// deadline, as the proxy does. Connections with requests that are not simple go to
// fallback; all do without hangups.
func ServeSimple(l net.Listener, handle http.HandlerFunc, hangups bool) (fallback net.Listener, stop func()) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := ConnOf(r.Context())
		c.HoldDeadline()
		defer c.ReleaseDeadline()
		handle(w, r)
	})
	s := &SimpleServer{Handler: h, Log: log.New(io.Discard, "", 0), HeadTimeout: HeaderTimeout, Fallback: NewFallback(l.Addr())}
	if hangups {
		s.Hangups = NewHangups()
	}
	public := NewTestListener(l, time.Minute)
	go s.Serve(public)
	return s.Fallback, func() {
		public.Close()
		s.Shutdown(context.Background())
		s.Fallback.Close()
		s.Hangups.Close()
	}
}

// Rewound returns a connection of a Listener as it goes to the Fallback: from which read
// has been read, and whose first head is to be complete by headDeadline.
func Rewound(c net.Conn, read string, headDeadline time.Time) net.Conn {
	return &rewound{c.(*Conn), []byte(read), headDeadline}
}
