package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

const (
	// dialTimeout bounds how long connecting to Ollama may take.
	dialTimeout = 10 * time.Second

	// MaxIdle is how many connections to Ollama are kept for later: every
	// client may have streamed at once.
	MaxIdle = 1024

	// maxIdleTime is how long they are.
	maxIdleTime = 90 * time.Second
)

// NewTransport returns the RoundTripper by which a Proxy reaches Ollama.
//
// It does everything in the goroutine that asks: where [http.Transport] has two
// more for each connection, which pass on what the third one wants, here nothing
// is passed on and nothing is woken. Only a body that is not in memory is sent by
// a goroutine of its own, since Ollama may answer before its end.
//
// A request on a connection that was used before is sent again on a new one,
// once, if no byte of it has left, or if no byte of an answer came and it is
// GET or HEAD, which change nothing. Answers are read by [http.ReadResponse].
func New(upstream *url.URL) http.RoundTripper { return NewAt(upstream, upstream.Host) }

// newTransport is for an Ollama at an address that may be one of several that its
// host has.
func NewAt(upstream *url.URL, address string) *Transport {
	t := &Transport{Dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}}
	t.dial = func(ctx context.Context) (net.Conn, error) {
		c, err := t.Dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return socket.New(c), nil
	}
	if upstream.Scheme == "https" {
		plain, config := t.dial, &tls.Config{ServerName: upstream.Hostname()}
		t.dial = func(ctx context.Context) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			c, err := plain(ctx)
			if err != nil {
				return nil, err
			}
			secure := tls.Client(c, config)
			if err := secure.HandshakeContext(ctx); err != nil {
				c.Close()
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
			}
			return secure, nil
		}
	}
	return t
}

// TransportOver is NewTransport for an Ollama that is reached by dial.
func TransportOver(dial func(context.Context) (net.Conn, error)) http.RoundTripper {
	return &Transport{dial: dial}
}

// Transport keeps connections to one Ollama. They are lent to one request at a
// time, the last one returned first.
type Transport struct {
	Dialer net.Dialer
	dial   func(context.Context) (net.Conn, error)
	Slots  *ConnLimit // nil: as many connections as there are requests

	mu      sync.Mutex
	retired bool // nothing more is kept for later
	idle    []*conn
	pruning *time.Timer // while there are idle ones
}

// RoundTrip sends a request and returns once the head of the answer is there.
// It closes the request's body in any case.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c, err := t.connect(r.Context())
	if err == nil {
		var res *http.Response
		if res, err = c.roundTrip(r); err == nil || !c.mayRepeat(r) {
			return res, err
		}
		if c, err = t.open(r.Context()); err == nil {
			return c.roundTrip(r)
		}
	}
	closeBody(r)
	return nil, err
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

// connect gives a connection that is idle, or else a new one.
func (t *Transport) connect(ctx context.Context) (*conn, error) {
	for c := t.take(); c != nil; c = t.take() {
		if c.isAlive() {
			return c, nil
		}
		c.close()
	}
	return t.open(ctx)
}

func (t *Transport) open(ctx context.Context) (*conn, error) {
	if err := t.Slots.take(ctx); err != nil {
		return nil, err
	}
	c, err := t.dial(ctx)
	if err != nil {
		t.Slots.release()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			err = ErrNoConnection // that is not Ollama's fault
		}
		return nil, err
	}
	return newConn(t, c), nil
}

func (t *Transport) take() *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := len(t.idle) - 1
	if last < 0 {
		return nil
	}
	c := t.idle[last]
	t.idle[last] = nil
	t.idle = t.idle[:last]
	return c
}

// put takes a connection back.
func (t *Transport) put(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired || len(t.idle) == MaxIdle || t.Slots.hasWaiters() {
		c.close()
		return
	}
	c.life, c.unwatch, c.in, c.sender = nil, nil, nil, nil // with all that the request was
	c.idleSince = time.Now()
	t.idle = append(t.idle, c)
	if t.pruning == nil {
		t.pruning = time.AfterFunc(maxIdleTime, t.prune)
	}
}

// prune closes what has been idle for too long: those longest idle come first.
func (t *Transport) prune() {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := 0
	for old < len(t.idle) && time.Since(t.idle[old].idleSince) >= maxIdleTime {
		t.idle[old].close()
		old++
	}
	t.idle = slices.Delete(t.idle, 0, old)
	t.pruning = nil
	if len(t.idle) > 0 {
		t.pruning = time.AfterFunc(maxIdleTime-time.Since(t.idle[0].idleSince), t.prune)
	}
}

// Retire closes the connections that no request uses, and the others as soon as
// none does.
func (t *Transport) Retire() {
	t.mu.Lock()
	t.retired = true
	t.mu.Unlock()
	t.CloseIdleConnections()
}

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.idle {
		c.close()
	}
	t.idle = nil
}
