package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
	"github.com/ollama-proxy/ollama-proxy/handler/reqctx"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

const (
	// maxAnswerHead bounds the head of Ollama's answer: 256 KiB.
	maxAnswerHead = 256 << 10

	// maxInterim is how many interim answers (1xx) may come before the answer.
	maxInterim = 5

	// oneWrite is how much of a request is sent before anything is read: 16
	// KiB, the head and an ordinary chat. Every receiver takes so much in, also
	// one that has begun to answer and reads no more.
	oneWrite = 16 << 10
)

var (
	errTooManyInterim = errors.New("too many interim answers")
	errHeadTooLong    = errors.New("the head of the answer is too long")
	errBadHeader      = errors.New("a header that cannot be sent")
)

// conn is a connection to Ollama, lent to one request at a time.
type conn struct {
	stream net.Conn
	home   *Transport
	closed atomic.Bool
	fresh  socket.BufferReader // the stream; nil if it is none
	in     *bufio.Reader       // for net/http, of what limit lets through; nil: not needed

	abort func() // close, made once

	idleWatch
	limit      headReader
	reused     bool
	sent       bool            // some of the request has left
	extraBytes bool            // something has come after the answer's end
	sender     *upload         // of the request; nil: it left in one write
	life       *reqctx.Request // of the request, if it has one
	unwatch    func() bool     // otherwise
	idleSince  time.Time
}

func newConn(home *Transport, stream net.Conn) *conn {
	c := &conn{stream: stream, home: home, limit: headReader{from: stream}}
	c.fresh, _ = stream.(socket.BufferReader)
	c.abort = c.close
	c.watchIdle()
	return c
}

// close makes everything fail that the connection does, and tells Ollama at
// once, whatever its user is doing meanwhile. Over TLS no parting words are
// written, for which it might have to wait.
func (c *conn) close() {
	if secure, ok := c.stream.(*tls.Conn); ok {
		secure.NetConn().Close()
	} else {
		c.stream.Close()
	}
	if !c.closed.Swap(true) {
		c.home.Slots.release()
	}
}

// roundTrip sends the request and reads the head of the answer. If it fails,
// the connection is closed; so it is once the request's context ends.
func (c *conn) roundTrip(r *http.Request) (*http.Response, error) {
	c.sent = false
	c.limit.left, c.limit.seen = maxAnswerHead, false
	c.watch(r.Context())
	res, err := c.sendAndReadHead(r)
	if err != nil {
		c.endWatch()
		c.close()
		if !c.limit.seen {
			err = unanswered{err}
		}
		return nil, err
	}
	body := &Body{from: res.Body, conn: c, last: res.Close || res.StatusCode == http.StatusSwitchingProtocols}
	if res.Body == http.NoBody {
		body.end(true)
	}
	res.Body = body
	return res, nil
}

// watch has the connection fail once the context ends.
func (c *conn) watch(ctx context.Context) {
	if c.life, _ = ctx.(*reqctx.Request); c.life != nil {
		c.life.OnCancel(c.abort)
	} else {
		c.unwatch = context.AfterFunc(ctx, c.abort)
	}
}

// endWatch ends that, and reports whether the context goes on.
func (c *conn) endWatch() bool {
	if c.life != nil {
		return c.life.StopOnCancel()
	}
	return c.unwatch()
}

func (c *conn) sendAndReadHead(r *http.Request) (*http.Response, error) {
	unsent := c.send(r)
	if unsent != nil && !c.sent {
		return nil, unsent
	}
	for range maxInterim + 1 {
		res, err := c.readHead(r)
		switch {
		case err != nil && unsent != nil:
			return nil, unsent
		case err != nil:
			return nil, c.uploadError(err)
		case res.StatusCode/100 != 1 || res.StatusCode == http.StatusSwitchingProtocols:
			c.limit.left = -1
			return res, nil
		}
	}
	return nil, errTooManyInterim
}

// readHead reads the head of an answer. If that is not simple, or has not come in
// one piece, net/http reads it, and its body.
func (c *conn) readHead(r *http.Request) (*http.Response, error) {
	if c.fresh != nil && c.in == nil {
		s, n, err := c.readBuffer()
		if err != nil {
			return nil, err
		}
		simple := new(simpleResponse)
		if head := simple.Read(s.Bytes[:n], r); head > 0 {
			return simple.begin(c, s, s.Bytes[head:n]), nil
		}
		c.limit.first = bytes.Clone(s.Bytes[:n])
		s.Release()
	}
	if c.in == nil {
		c.in = bufio.NewReader(&c.limit)
	}
	// What is no HTTP at all may have no line's end for which it would pay to
	// wait.
	const start = "HTTP/"
	if found, err := c.in.Peek(len(start)); err == nil && string(found) != start {
		return nil, ErrNotHTTP
	}
	res, err := http.ReadResponse(c.in, r)
	if err != nil {
		return nil, c.limit.explain(err)
	}
	return res, nil
}

// readBuffer reads what comes next. If it returns an error, there is no buffer.
func (c *conn) readBuffer() (*socket.Buffer, int, error) {
	s, n, err := c.fresh.ReadBuffer(socket.ChunkBuffers)
	if err != nil {
		c.limit.err = err
		return nil, 0, c.limit.explain(err)
	}
	c.limit.seen = true
	return s, n, nil
}

// uploadError gives the reason why reading failed: an upload that failed before, or
// else err.
func (c *conn) uploadError(err error) error {
	if c.sender != nil {
		if cause := c.sender.failure(); cause != nil {
			return cause
		}
	}
	return err
}

// send sends the request in one write, or leaves it to a goroutine.
func (c *conn) send(r *http.Request) error {
	buf := heads.Get().(*[]byte)
	defer heads.Put(buf)
	head, err := appendHead((*buf)[:0], r)
	if err != nil {
		closeBody(r)
		return err
	}
	small, inMemory := r.Body.(*body.Reader)
	switch {
	case inMemory && int64(len(head))+small.Size() <= oneWrite:
		head = append(head, small.First...)
	case r.Body != nil && r.Body != http.NoBody:
		c.sent = true
		c.sender = newSender(c, r, bytes.Clone(head))
		go c.sender.run()
		return nil
	}
	*buf = head
	n, err := c.stream.Write(head)
	c.sent = n > 0
	return err
}

var heads = sync.Pool{New: func() any { b := make([]byte, 0, oneWrite); return &b }}

// mayRepeat reports whether a request that failed may be sent again: if Ollama
// cannot have begun to work on it, or it changes nothing.
func (c *conn) mayRepeat(r *http.Request) bool {
	if !c.reused || c.sender != nil || c.limit.seen || r.Context().Err() != nil {
		return false
	}
	return !c.sent || r.Method == http.MethodGet || r.Method == http.MethodHead
}

// headReader bounds the head of an answer.
type headReader struct {
	from  io.Reader
	first []byte // what has been read of it
	left  int    // bytes that may still come; negative: any number
	seen  bool   // any came
	err   error  // once there was one: a broken connection must not seem to have ended
}

func (l *headReader) Read(p []byte) (n int, err error) {
	switch {
	case l.err != nil:
		return 0, l.err
	case l.left == 0:
		return 0, errHeadTooLong
	case l.left > 0 && len(p) > l.left:
		p = p[:l.left]
	}
	if len(l.first) > 0 {
		n = copy(p, l.first)
		l.first = l.first[n:]
	} else {
		n, err = l.from.Read(p)
	}
	if l.left > 0 {
		l.left -= n
	}
	l.seen = l.seen || n > 0
	l.err = err
	return n, err
}

// explain tells why an answer could not be read: one whose end never came may
// read like nonsense.
func (l *headReader) explain(err error) error {
	switch l.err {
	case nil:
		return err
	case io.EOF:
		return io.ErrUnexpectedEOF
	}
	return l.err
}
