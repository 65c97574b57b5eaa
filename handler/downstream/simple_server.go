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

// SimpleServer is an HTTP/1.1 server for simple requests in the clear, see
// ReadRequest, at half of what net/http takes for one, in time and in memory. It
// has no goroutine beside that of the connection, as hangups tell it that a
// client has left; no buffer while it waits; and nothing to decide, since what is
// in any way out of the ordinary is not for it. With the first request that is
// not simple, or has not come in one piece, a connection goes to net/http for good,
// with all that has been read of it. So it is still net/http that faces what the
// internet sends.
type SimpleServer struct {
	Handler    http.Handler
	Log        *log.Logger
	HeadTime   time.Duration // for a first head
	Departures *Hangups
	Rest       *Fallback // the connections that are for net/http

	// IdleTimeout is how long a connection may wait for its next request. 0 means the
	// constant of that name.
	IdleTimeout time.Duration

	closing atomic.Bool
	conns   sync.WaitGroup
}

// Serve accepts connections until the listener is closed, and then returns why.
func (s *SimpleServer) Serve(l net.Listener) error {
	s.conns.Add(1) // shutdown may only wait while nobody begins with none
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
		if !ok || !s.Departures.watch(client) {
			if ok {
				client.fallBack()
			}
			s.Rest.give(c)
			continue
		}
		client.simple = true
		s.conns.Go(func() { s.serveConn(client) })
	}
}

// Shutdown ends the connections that wait for a request at once and the others
// after their answer, and returns when there are none left. If the context ends
// before that, it closes them and returns.
func (s *SimpleServer) Shutdown(ctx context.Context) {
	s.closing.Store(true)
	s.Departures.each(func(c *Conn) { c.SetReadDeadline(socket.LongAgo) })
	over := make(chan struct{})
	go func() { s.conns.Wait(); close(over) }()
	select {
	case <-over:
	case <-ctx.Done():
		s.Close()
	}
}

// Close closes all connections, and ends what runs on them.
func (s *SimpleServer) Close() {
	s.closing.Store(true)
	s.Departures.each(func(c *Conn) {
		c.Close()
		c.departure.End() // of that the kernel does not tell
	})
}

// simpleConn is a connection that plainServer serves.
type simpleConn struct {
	client *Conn
	from   string // the client's address
	in     []byte // what has been read and not been used; in space
	space  *socket.Buffer
	unread int64 // of the body
	answer simpleResponse

	first  bool        // request
	posted bool        // the one before had a body, or might have
	until  time.Time   // the read deadline
	rearm  atomic.Bool // it may be another one
	hurry  atomic.Bool // there may be a write deadline that is for one request
}

// idleSlack is how much sooner than after idleTimeout a connection may end: the
// deadline is not set anew for every request.
const idleSlack = 5 * time.Second

func (s *SimpleServer) serveConn(client *Conn) {
	c := &simpleConn{client: client, from: client.RemoteAddr().String(), first: true}
	c.answer = simpleResponse{conn: c, header: make(http.Header, 8)}
	ours := true
	defer func() {
		s.Departures.forget(client)
		if err := recover(); err != nil && err != http.ErrAbortHandler {
			stack := make([]byte, 64<<10)
			stack = stack[:runtime.Stack(stack, false)]
			s.Log.Print(fmt.Sprintf("http: panic serving %v: %v\n", c.from, err), string(stack))
		}
		if ours {
			c.release()
			client.Close()
		}
	}()
	for more := true; more; c.first = false {
		if err := c.await(s); err != nil {
			return
		}
		if c.posted {
			// Old clients send an empty line after a body.
			for n := 0; n < 4 && len(c.in) > 0 && (c.in[0] == '\r' || c.in[0] == '\n'); n++ {
				c.use(1)
			}
			if c.posted = false; len(c.in) == 0 {
				continue
			}
		}
		r, head := http1.ReadRequest(client.departure, c.in, c.from)
		if r == nil {
			ours = false
			client.SetReadDeadline(time.Time{})
			client.fallBack()
			over := &rewound{Conn: client, read: bytes.Clone(c.in)}
			if c.first {
				over.until = c.until
			}
			s.Rest.give(over)
			c.release()
			return
		}
		more = s.serveRequest(c, &r.Request, head) && !s.closing.Load()
	}
	c.linger()
}

// await returns once there is something to read, or, with an error, once nothing
// more is to come.
func (c *simpleConn) await(s *SimpleServer) (err error) {
	if len(c.in) > 0 {
		return nil
	}
	limit := cmp.Or(s.IdleTimeout, IdleTimeout)
	slack := min(idleSlack, limit/8)
	if c.first {
		limit, slack = s.HeadTime, 0
	}
	until := time.Now().Add(limit)
	if late := until.Sub(c.until); c.rearm.Swap(false) || late > slack || late < 0 {
		c.until = until
		c.client.SetReadDeadline(until)
	}
	if s.closing.Load() { // whoever closes might have set the deadline just before
		return net.ErrClosed
	}
	c.space, c.in, err = c.client.readBuffer()
	return err
}

// serveRequest reports whether another request may follow.
func (s *SimpleServer) serveRequest(c *simpleConn, r *http.Request, head int) (more bool) {
	c.use(head)
	r.Body = http.NoBody
	if c.unread = r.ContentLength; c.unread > 0 {
		r.Body = c
		if c.unread > int64(len(c.in)) { // whoever reads it sees to how long that may take
			c.rearm.Store(true)
			c.client.SetReadDeadline(time.Time{})
		}
	}
	c.posted = r.Method == http.MethodPost
	c.answer.begin(r)
	s.Handler.ServeHTTP(&c.answer, r)
	more = c.answer.finish() && c.unread == 0
	if c.hurry.Swap(false) {
		c.client.SetWriteDeadline(time.Time{})
	}
	return more
}

// Read reads the body of the request.
func (c *simpleConn) Read(p []byte) (n int, err error) {
	if c.unread == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > c.unread {
		p = p[:c.unread]
	}
	if len(c.in) > 0 {
		n = copy(p, c.in)
		c.use(n)
	} else if n, err = c.client.Read(p); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if c.unread -= int64(n); c.unread == 0 {
		err = io.EOF
	}
	return n, err
}

// Close does nothing: what is left of a body ends the connection.
func (c *simpleConn) Close() error { return nil }

// use takes n bytes out of what has been read.
func (c *simpleConn) use(n int) {
	if c.in = c.in[n:]; len(c.in) == 0 {
		c.release()
	}
}

func (c *simpleConn) release() {
	c.space.Release()
	c.space, c.in = nil, nil
}

// linger lets a client that is still sending read the answer: if the connection
// were closed at once, what it sends would be answered by a reset, and the
// answer lost. It takes in no more than the request's body, and keeps none of it.
func (c *simpleConn) linger() {
	c.skip()
	if c.unread == 0 {
		return
	}
	c.client.CloseWrite()
	c.client.SetReadDeadline(time.Now().Add(Lingering))
	for err := error(nil); c.unread > 0; c.skip() {
		if c.space, c.in, err = c.client.readBuffer(); err != nil {
			return
		}
	}
}

// skip lets go of what has been read.
func (c *simpleConn) skip() {
	c.unread -= min(c.unread, int64(len(c.in)))
	c.release()
}
