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
	// dialTimeout bounds how long opening a connection may take, with the TLS handshake:
	// 10 s.
	dialTimeout = 10 * time.Second

	// MaxIdle is how many idle connections to one Ollama are kept: every client may have
	// streamed at once.
	MaxIdle = 1024

	// maxIdleTime is how long an idle connection is kept.
	maxIdleTime = 90 * time.Second
)

// New returns a [Transport] for the Ollama at the URL, which has a scheme, http or
// https, and a host with a port.
func New(upstream *url.URL) http.RoundTripper { return NewAt(upstream, upstream.Host) }

// NewAt returns a Transport for the Ollama at the URL that connects to the given address
// in place of the URL's host, which may have several. The Dialer may be changed before
// the first request.
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
		dialTCP, config := t.dial, &tls.Config{ServerName: upstream.Hostname()}
		t.dial = func(ctx context.Context) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			c, err := dialTCP(ctx)
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

// NewWithDial returns a Transport that opens connections with dial.
func NewWithDial(dial func(context.Context) (net.Conn, error)) http.RoundTripper {
	return &Transport{dial: dial}
}

// Transport is an http.RoundTripper to one Ollama. It keeps idle connections; the one
// used last is used next.
//
// It does everything in the caller's goroutine. [http.Transport] has two more goroutines
// for each connection, and each chunk wakes one after the other. Only a large body is
// sent by a goroutine of its own, because Ollama may respond before its end.
type Transport struct {
	Dialer    net.Dialer // not used by NewWithDial
	dial      func(context.Context) (net.Conn, error)
	ConnLimit *ConnLimit // nil: no bound on connections

	mu      sync.Mutex
	retired bool        // no connection becomes idle any more
	idle    []*conn     // the one used last at the end
	pruning *time.Timer // calls prune; nil: no connection is idle
}

// RoundTrip sends a request and returns once the head of the response has arrived. It
// always closes the request's body. The response's Body is a [*Body], which must be
// closed.
//
// If the request fails on a connection that was used before, it is sent once more on a
// new one, provided that no byte of it was written, or that it is GET or HEAD and no
// byte of a response has arrived. If no connection can be opened, [IsRefused] holds for
// the error, or it is [ErrNoConnection].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c, err := t.connect(r.Context())
	if err == nil {
		var res *http.Response
		if res, err = c.roundTrip(r); err == nil || !c.mayRetry(r) {
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

// connect returns an idle connection that can be used, or a new one.
func (t *Transport) connect(ctx context.Context) (*conn, error) {
	for c := t.take(); c != nil; c = t.take() {
		if c.isAlive() {
			return c, nil
		}
		c.close()
	}
	return t.open(ctx)
}

// open opens a new connection.
func (t *Transport) open(ctx context.Context) (*conn, error) {
	if err := t.ConnLimit.take(ctx); err != nil {
		return nil, err
	}
	c, err := t.dial(ctx)
	if err != nil {
		t.ConnLimit.release()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			err = ErrNoConnection // the fault is not Ollama's
		}
		return nil, err
	}
	return newConn(t, c), nil
}

// take returns the idle connection that was used last, or nil.
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

// put makes a connection idle, or closes it if it is not to be kept.
func (t *Transport) put(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired || len(t.idle) == MaxIdle || t.ConnLimit.hasWaiters() {
		c.close()
		return
	}
	c.reqCtx, c.stopWatch, c.in, c.upload = nil, nil, nil, nil // so that it does not keep the request in memory
	c.idleSince = time.Now()
	t.idle = append(t.idle, c)
	if t.pruning == nil {
		t.pruning = time.AfterFunc(maxIdleTime, t.prune)
	}
}

// prune closes the connections that have been idle for too long, which are the first
// ones.
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

// Retire closes the idle connections, and has the others closed as soon as their request
// has ended.
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
