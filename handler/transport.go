package handler

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// dialTimeout bounds how long connecting to Ollama may take.
	dialTimeout = 10 * time.Second

	// maxIdle is how many connections to Ollama are kept for later: every
	// client may have streamed at once.
	maxIdle = 1024

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
//
// If the upstream is https, NewTransport returns an http.Transport.
func NewTransport(upstream *url.URL) http.RoundTripper {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	if upstream.Scheme == "https" {
		return &http.Transport{
			DialContext: dialer.DialContext,
			// Ollama's answers pass as they are, in the coding that the
			// client asked for.
			DisableCompression:     true,
			MaxIdleConnsPerHost:    maxIdle,
			IdleConnTimeout:        maxIdleTime,
			MaxResponseHeaderBytes: maxAnswerHead,
			TLSHandshakeTimeout:    dialTimeout,
		}
	}
	return &transport{dialer: dialer, host: upstream.Host}
}

// transport keeps connections to one Ollama. They are lent to one request at a
// time, the last one returned first.
type transport struct {
	dialer *net.Dialer
	host   string // with its port

	mu      sync.Mutex
	idle    []*conn
	pruning *time.Timer // while there are idle ones
}

// RoundTrip sends a request and returns once the head of the answer is there.
// It closes the request's body in any case.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c, err := t.connect(r.Context())
	if err == nil {
		var res *http.Response
		if res, err = c.roundTrip(r); err == nil || !c.mayRepeat(r) {
			return res, err
		}
		if c, err = t.dial(r.Context()); err == nil {
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
func (t *transport) connect(ctx context.Context) (*conn, error) {
	for c := t.take(); c != nil; c = t.take() {
		if c.isAlive() {
			return c, nil
		}
		c.close()
	}
	return t.dial(ctx)
}

func (t *transport) dial(ctx context.Context) (*conn, error) {
	c, err := t.dialer.DialContext(ctx, "tcp", t.host)
	if err != nil {
		return nil, err
	}
	return newConn(t, c.(*net.TCPConn))
}

func (t *transport) take() *conn {
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
func (t *transport) put(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) == maxIdle {
		c.close()
		return
	}
	c.idleSince = time.Now()
	t.idle = append(t.idle, c)
	if t.pruning == nil {
		t.pruning = time.AfterFunc(maxIdleTime, t.prune)
	}
}

// prune closes what has been idle for too long: those longest idle come first.
func (t *transport) prune() {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := 0
	for old < len(t.idle) && time.Since(t.idle[old].idleSince) >= maxIdleTime {
		t.idle[old].close()
		old++
	}
	t.idle = append(t.idle[:0], t.idle[old:]...)
	t.pruning = nil
	if len(t.idle) > 0 {
		t.pruning = time.AfterFunc(maxIdleTime-time.Since(t.idle[0].idleSince), t.prune)
	}
}

// CloseIdleConnections closes the connections that no request uses.
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.idle {
		c.close()
	}
	t.idle = nil
}
