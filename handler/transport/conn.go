package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
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
	// maxAnswerHead bounds the head of a response, interim ones included: 256 KiB.
	maxAnswerHead = 256 << 10

	// maxInterim is how many interim responses (1xx) may precede the response.
	maxInterim = 5

	// smallRequest is the largest request that is sent before anything is read: 16 KiB,
	// enough for the head and an ordinary chat. Every receiver buffers that much, even
	// one that has begun to answer and does not read any more, so the write cannot block
	// for long.
	smallRequest = 16 << 10
)

var (
	errTooManyInterim = errors.New("too many interim answers")
	errHeadTooLong    = errors.New("the head of the answer is too long")
	errBadHeader      = errors.New("a header that cannot be sent")
)

// conn is a connection to Ollama. It serves one request at a time.
type conn struct {
	stream       net.Conn
	transport    *Transport
	closed       atomic.Bool
	bufferReader socket.BufferReader // stream, if it is one; nil otherwise
	in           *bufio.Reader       // what net/http reads from; nil until it is needed

	abort func() // close, as a method value that is allocated once

	idleCheck
	reader     headReader
	reused     bool
	sent       bool            // some bytes of the request have been written
	extraBytes bool            // bytes have arrived after the end of the response
	upload     *upload         // sends the request; nil: it was sent in one write
	reqCtx     *reqctx.Request // the request's context, if it is of that type
	stopWatch  func() bool     // otherwise stops watching the context
	idleSince  time.Time       // set by put
}

// newConn makes a conn of a stream that has just been opened.
func newConn(transport *Transport, stream net.Conn) *conn {
	c := &conn{stream: stream, transport: transport, reader: headReader{from: stream}}
	c.bufferReader, _ = stream.(socket.BufferReader)
	c.abort = c.close
	c.initIdleCheck()
	return c
}

// close makes every pending call on the connection fail, and closes the connection at
// once. Over TLS it sends no close_notify alert, because writing that might block.
func (c *conn) close() {
	if secure, ok := c.stream.(*tls.Conn); ok {
		secure.NetConn().Close()
	} else {
		c.stream.Close()
	}
	if !c.closed.Swap(true) {
		c.transport.ConnLimit.release()
	}
}

// roundTrip sends the request and reads the head of the response. If that fails, or once
// the request's context is cancelled, the connection is closed.
func (c *conn) roundTrip(r *http.Request) (*http.Response, error) {
	c.sent = false
	c.reader.allowed, c.reader.received = maxAnswerHead, false
	c.watch(r.Context())
	res, err := c.sendAndReadHead(r)
	if err != nil {
		c.endWatch()
		c.close()
		if !c.reader.received {
			err = earlyReset{err} // the first error; it is repeated, so that a broken connection never seems to have ended well
		}
		return nil, err
	}
	body := &Body{from: res.Body, conn: c, closeAfter: res.Close || res.StatusCode == http.StatusSwitchingProtocols}
	if res.Body == http.NoBody {
		body.end(true)
	}
	res.Body = body
	return res, nil
}

// watch closes the connection when the context is cancelled.
func (c *conn) watch(ctx context.Context) {
	if c.reqCtx, _ = ctx.(*reqctx.Request); c.reqCtx != nil {
		c.reqCtx.OnCancel(c.abort)
	} else {
		c.stopWatch = context.AfterFunc(ctx, c.abort)
	}
}

// endWatch undoes watch. It reports whether the context has not been cancelled.
func (c *conn) endWatch() bool {
	if c.reqCtx != nil {
		return c.reqCtx.StopOnCancel()
	}
	return c.stopWatch()
}

// sendAndReadHead returns the first response that is not an interim one. If some of the
// request has been written, there may be a response even though the rest could not be.
func (c *conn) sendAndReadHead(r *http.Request) (*http.Response, error) {
	sendErr := c.send(r)
	if sendErr != nil && !c.sent {
		return nil, sendErr
	}
	for range maxInterim + 1 {
		res, err := c.readHead(r)
		switch {
		case err != nil && sendErr != nil:
			return nil, sendErr
		case err != nil:
			return nil, c.uploadError(err)
		case res.StatusCode/100 != 1 || res.StatusCode == http.StatusSwitchingProtocols:
			c.reader.allowed = -1
			return res, nil
		}
	}
	return nil, errTooManyInterim
}

// readHead reads the head of one response. If it is not simple (see package http1), or
// did not arrive in one piece, net/http reads the head and the body.
func (c *conn) readHead(r *http.Request) (*http.Response, error) {
	if c.bufferReader != nil && c.in == nil {
		s, n, err := c.readBuffer()
		if err != nil {
			return nil, err
		}
		simple := new(simpleResponse)
		if head := simple.Read(s.Bytes[:n], r); head > 0 {
			return simple.begin(c, s, s.Bytes[head:n]), nil
		}
		c.reader.buffered = bytes.Clone(s.Bytes[:n])
		s.Release()
	}
	if c.in == nil {
		c.in = bufio.NewReader(&c.reader)
	}
	// If this is not HTTP, it may have no line break, and net/http would
	// wait for one.
	const start = "HTTP/"
	if found, err := c.in.Peek(len(start)); err == nil && string(found) != start {
		return nil, ErrNotHTTP
	}
	res, err := http.ReadResponse(c.in, r)
	if err != nil {
		return nil, c.reader.explain(err)
	}
	return res, nil
}

// readBuffer reads the bytes that arrive next. If it returns an error, there is no
// buffer.
func (c *conn) readBuffer() (*socket.Buffer, int, error) {
	s, n, err := c.bufferReader.ReadBuffer(socket.ChunkBuffers)
	if err != nil {
		c.reader.err = err
		return nil, 0, c.reader.explain(err)
	}
	c.reader.received = true
	return s, n, nil
}

// uploadError returns the error of the upload if it failed, because reading the response
// failed as a consequence; otherwise err.
func (c *conn) uploadError(err error) error {
	if c.upload != nil {
		if cause := c.upload.failure(); cause != nil {
			return cause
		}
	}
	return err
}

// send writes the request, or starts a goroutine that does if its body is large.
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
	case inMemory && int64(len(head))+small.Size() <= smallRequest:
		head = append(head, small.First...)
	case r.Body != nil && r.Body != http.NoBody:
		c.sent = true
		c.upload = newUpload(c, r, bytes.Clone(head))
		go c.upload.run()
		return nil
	}
	*buf = head
	n, err := c.stream.Write(head)
	c.sent = n > 0
	return err
}

// heads holds buffers for small requests.
var heads = sync.Pool{New: func() any { b := make([]byte, 0, smallRequest); return &b }}

// mayRetry reports whether a failed request may be sent again on a new connection: if
// Ollama cannot have received any of it, or if it is GET or HEAD and no byte of a
// response has arrived.
func (c *conn) mayRetry(r *http.Request) bool {
	if !c.reused || c.upload != nil || c.reader.received || r.Context().Err() != nil {
		return false
	}
	return !c.sent || r.Method == http.MethodGet || r.Method == http.MethodHead
}
