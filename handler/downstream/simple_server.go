package downstream

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/http1"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// SimpleServer is an HTTP/1.1 server for simple requests without TLS, see
// [http1.ReadRequest]. It takes half of the time and memory that net/http takes for one:
// each connection has a single goroutine, since Hangups reports when the client leaves,
// and holds no buffer while it waits. With the first request that is not simple, or whose
// head does not arrive in one piece, the connection goes to net/http's server for good,
// with all bytes read so far. So net/http still parses whatever is unusual.
type SimpleServer struct {
	Handler     http.Handler
	Log         *log.Logger
	HeadTimeout time.Duration // for the first head of a connection
	Hangups     *Hangups
	Fallback    *Fallback // passes connections on to net/http

	// IdleTimeout is how long a connection may wait for its next request. 0 means the
	// constant of that name.
	IdleTimeout time.Duration

	closing atomic.Bool
	conns   sync.WaitGroup
}

// Serve accepts and serves connections until Accept returns an error that is not
// temporary, which it returns. A connection that is not from a [Listener], or that
// Hangups cannot watch, goes to the Fallback at once.
func (s *SimpleServer) Serve(l net.Listener) error {
	s.conns.Add(1) // Add must not happen concurrently with Shutdown's Wait while the count is 0
	defer s.conns.Done()
	for pause := time.Duration(0); ; {
		c, err := l.Accept()
		if temporary, ok := err.(interface{ Temporary() bool }); ok && temporary.Temporary() {
			pause = min(max(5*time.Millisecond, 2*pause), time.Second)
			s.Log.Printf("http: Accept error: %v; retrying in %v", err, pause)
			time.Sleep(pause)
			continue
		}
		if err != nil {
			return err
		}
		pause = 0
		client, ok := c.(*Conn)
		if !ok || !s.Hangups.watch(client) {
			if ok {
				client.fallBack()
			}
			s.Fallback.hand(c)
			continue
		}
		client.simple = true
		s.conns.Go(func() { s.serveConn(client) })
	}
}

// Shutdown closes the connections that wait for a request at once, and the others after
// their answer. It returns when none is left, or when the context ends: then it closes
// those that are left.
func (s *SimpleServer) Shutdown(ctx context.Context) {
	s.closing.Store(true)
	s.Hangups.each(func(c *Conn) { c.SetReadDeadline(socket.LongAgo) })
	idle := make(chan struct{})
	go func() { s.conns.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
		s.Close()
	}
}

// Close closes all connections, and ends the contexts of their requests.
func (s *SimpleServer) Close() {
	s.closing.Store(true)
	s.Hangups.each(func(c *Conn) {
		c.Close()
		c.ctx.End() // the kernel does not report a close from this side
	})
}

// simpleConn is a connection that a SimpleServer serves, and the body of its request.
type simpleConn struct {
	client     *Conn
	remoteAddr string
	buffered   []byte // what has been read and not been consumed; in buffer
	buffer     *socket.Buffer
	bodyLeft   int64 // bytes of the request's body that have not been read
	response   simpleResponse

	first            bool        // no request has been served yet
	afterBody        bool        // the request before may have had a body
	readDeadline     time.Time   // the one that await has set
	readDeadlineSet  atomic.Bool // somebody else has set another one since
	writeDeadlineSet atomic.Bool // the handler has set a write deadline, which ends with the request
}

// idleSlack is by how much a connection may be closed before IdleTimeout is over, which
// saves setting the deadline for every request.
const idleSlack = 5 * time.Second

// serveConn serves requests on a connection until it ends or goes to the Fallback.
func (s *SimpleServer) serveConn(client *Conn) {
	c := &simpleConn{client: client, remoteAddr: client.RemoteAddr().String(), first: true}
	c.response = simpleResponse{conn: c, header: make(http.Header, 8)}
	isOurs := true
	defer func() {
		s.Hangups.forget(client)
		if err := recover(); err != nil && err != http.ErrAbortHandler {
			stack := make([]byte, 64<<10)
			stack = stack[:runtime.Stack(stack, false)]
			s.Log.Print(fmt.Sprintf("http: panic serving %v: %v\n", c.remoteAddr, err), string(stack))
		}
		if isOurs {
			c.release()
			client.Close()
		}
	}()
	for more := true; more; c.first = false {
		if err := c.await(s); err != nil {
			return
		}
		if c.afterBody {
			// Some old clients send an empty line after a body.
			for n := 0; n < 4 && len(c.buffered) > 0 && (c.buffered[0] == '\r' || c.buffered[0] == '\n'); n++ {
				c.consume(1)
			}
			if c.afterBody = false; len(c.buffered) == 0 {
				continue
			}
		}
		r, head := http1.ReadRequest(client.ctx, c.buffered, c.remoteAddr)
		if r == nil {
			isOurs = false
			client.SetReadDeadline(time.Time{})
			client.fallBack()
			whole := &rewound{Conn: client, read: bytes.Clone(c.buffered)}
			if c.first {
				whole.headDeadline = c.readDeadline
			}
			s.Fallback.hand(whole)
			c.release()
			return
		}
		more = s.serveRequest(c, &r.Request, head) && !s.closing.Load()
	}
	c.linger()
}

// await waits until there are bytes in buffered. It returns an error if the client has
// closed the connection, if the read deadline has passed, or if the server is closing.
func (c *simpleConn) await(s *SimpleServer) (err error) {
	if len(c.buffered) > 0 {
		return nil
	}
	limit := cmp.Or(s.IdleTimeout, IdleTimeout)
	slack := min(idleSlack, limit/8)
	if c.first {
		limit, slack = s.HeadTimeout, 0
	}
	until := time.Now().Add(limit)
	if late := until.Sub(c.readDeadline); c.readDeadlineSet.Swap(false) || late > slack || late < 0 {
		c.readDeadline = until
		c.client.SetReadDeadline(until)
	}
	if s.closing.Load() { // Shutdown may have set its deadline just before this one was set
		return net.ErrClosed
	}
	c.buffer, c.buffered, err = c.client.readBuffer()
	return err
}

// serveRequest serves one request, whose head has the given length. It reports whether
// another request may follow.
func (s *SimpleServer) serveRequest(c *simpleConn, r *http.Request, head int) (more bool) {
	c.consume(head)
	r.Body = http.NoBody
	if c.bodyLeft = r.ContentLength; c.bodyLeft > 0 {
		r.Body = c
		if c.bodyLeft > int64(len(c.buffered)) { // the handler bounds how long the body may take
			c.readDeadlineSet.Store(true)
			c.client.SetReadDeadline(time.Time{})
		}
	}
	c.afterBody = r.Method == http.MethodPost
	c.response.begin(r)
	s.Handler.ServeHTTP(&c.response, r)
	more = c.response.finish() && c.bodyLeft == 0
	if c.writeDeadlineSet.Swap(false) {
		c.client.SetWriteDeadline(time.Time{})
	}
	return more
}

// Read implements io.Reader: it reads the body of the request.
func (c *simpleConn) Read(p []byte) (n int, err error) {
	if c.bodyLeft == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > c.bodyLeft {
		p = p[:c.bodyLeft]
	}
	if len(c.buffered) > 0 {
		n = copy(p, c.buffered)
		c.consume(n)
	} else if n, err = c.client.Read(p); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if c.bodyLeft -= int64(n); c.bodyLeft == 0 {
		err = io.EOF
	}
	return n, err
}

// Close does nothing. If the handler has not read the whole body, the connection closes
// after the answer.
func (c *simpleConn) Close() error { return nil }

// consume removes the first n bytes of buffered.
func (c *simpleConn) consume(n int) {
	if c.buffered = c.buffered[n:]; len(c.buffered) == 0 {
		c.release()
	}
}

func (c *simpleConn) release() {
	c.buffer.Release()
	c.buffer, c.buffered = nil, nil
}

// linger reads and drops the rest of the request's body for a moment, so that a client
// that is still sending can read the answer. If the connection were closed at once, the
// kernel would answer further bytes with a reset, and the client would lose the answer.
func (c *simpleConn) linger() {
	c.discard()
	if c.bodyLeft == 0 {
		return
	}
	c.client.CloseWrite()
	c.client.SetReadDeadline(time.Now().Add(Lingering))
	for err := error(nil); c.bodyLeft > 0; c.discard() {
		if c.buffer, c.buffered, err = c.client.readBuffer(); err != nil {
			return
		}
	}
}

// discard drops what is buffered, as a part of the body.
func (c *simpleConn) discard() {
	c.bodyLeft -= min(c.bodyLeft, int64(len(c.buffered)))
	c.release()
}
