package handler

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
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
	home   *transport
	in     *bufio.Reader // of what limit lets through

	abort func() // close, made once

	idleWatch
	limit     limit
	reused    bool
	sent      bool        // some of the request has left
	sender    *sender     // of the request; nil: it left in one write
	life      *lifetime   // of the request, if it has one
	unwatch   func() bool // otherwise
	idleSince time.Time
}

func newConn(home *transport, stream net.Conn) *conn {
	c := &conn{stream: stream, home: home, limit: limit{from: stream}}
	c.in = bufio.NewReader(&c.limit)
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
		return
	}
	c.stream.Close()
}

// roundTrip sends the request and reads the head of the answer. If it fails,
// the connection is closed; so it is once the request's context ends.
func (c *conn) roundTrip(r *http.Request) (*http.Response, error) {
	c.sent, c.sender = false, nil
	c.limit.left, c.limit.seen = maxAnswerHead, false
	c.watch(r.Context())
	res, err := c.converse(r)
	if err != nil {
		c.endWatch()
		c.close()
		if !c.limit.seen {
			err = unanswered{err}
		}
		return nil, err
	}
	body := &answerBody{from: res.Body, conn: c, last: res.Close || res.StatusCode == http.StatusSwitchingProtocols}
	if res.Body == http.NoBody {
		body.end(true)
	}
	res.Body = body
	return res, nil
}

// watch has the connection fail once the context ends.
func (c *conn) watch(ctx context.Context) {
	if c.life, _ = ctx.(*lifetime); c.life != nil {
		c.life.atEnd(c.abort)
	} else {
		c.unwatch = context.AfterFunc(ctx, c.abort)
	}
}

// endWatch ends that, and reports whether the context goes on.
func (c *conn) endWatch() bool {
	if c.life != nil {
		return c.life.forget()
	}
	return c.unwatch()
}

func (c *conn) converse(r *http.Request) (*http.Response, error) {
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
			return nil, c.blame(err)
		case res.StatusCode/100 != 1 || res.StatusCode == http.StatusSwitchingProtocols:
			c.limit.left = -1
			return res, nil
		}
	}
	return nil, errTooManyInterim
}

// readHead reads the head of an answer. What is no HTTP at all may have no
// line's end for which it would pay to wait.
func (c *conn) readHead(r *http.Request) (*http.Response, error) {
	const start = "HTTP/"
	if found, err := c.in.Peek(len(start)); err == nil && string(found) != start {
		return nil, errNotHTTP
	}
	res, err := http.ReadResponse(c.in, r)
	if err != nil {
		return nil, c.limit.explain(err)
	}
	return res, nil
}

// blame gives the reason why reading failed: an upload that failed before, or
// else err.
func (c *conn) blame(err error) error {
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
	small, inMemory := r.Body.(*memory)
	switch {
	case inMemory && len(head)+len(small.all) <= oneWrite:
		head = append(head, small.all...)
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

// framing are the headers that say where a request ends, and which one it is:
// that is not for its other headers to say.
var framing = map[string]bool{"Connection": true, "Content-Length": true, "Host": true, "Trailer": true, "Transfer-Encoding": true}

// appendHead writes the head of a request. What could end a line early is an
// error: nothing that a client sends may frame what Ollama reads.
func appendHead(b []byte, r *http.Request) ([]byte, error) {
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = appendTarget(b, r.URL)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.URL.Host...)
	b = append(b, "\r\n"...)
	for name, values := range r.Header {
		if framing[name] {
			continue
		}
		for _, value := range values {
			if !isToken(name) || strings.ContainsAny(value, "\r\n\x00") {
				return nil, errBadHeader
			}
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		}
	}
	switch length := bodyLength(r); {
	case length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case length > 0 || r.Method == http.MethodPost:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, length, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// bodyLength is how many bytes will follow the head; -1: that is not known.
func bodyLength(r *http.Request) int64 {
	small, inMemory := r.Body.(*memory)
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return 0
	case inMemory:
		return int64(len(small.all))
	case r.ContentLength == 0:
		return -1 // as http.Request has it
	}
	return r.ContentLength
}

// appendTarget writes what is asked for. The path is one of ours; the query is
// the client's, and a space in it would end it early.
func appendTarget(b []byte, u *url.URL) []byte {
	if path := u.EscapedPath(); path != "" {
		b = append(b, path...)
	} else {
		b = append(b, '/')
	}
	if u.RawQuery == "" {
		return b
	}
	b = append(b, '?')
	for i := range len(u.RawQuery) {
		if c := u.RawQuery[i]; c > ' ' && c != 0x7f {
			b = append(b, c)
		} else {
			b = append(b, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		}
	}
	return b
}

// isToken reports whether s is what HTTP calls one: no header has another name.
func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
		case strings.IndexByte("!#$%&'*+.^_`|~", c) < 0:
			return false
		}
	}
	return s != ""
}

// mayRepeat reports whether a request that failed may be sent again: if Ollama
// cannot have begun to work on it, or it changes nothing.
func (c *conn) mayRepeat(r *http.Request) bool {
	if !c.reused || c.sender != nil || c.limit.seen || r.Context().Err() != nil {
		return false
	}
	return !c.sent || r.Method == http.MethodGet || r.Method == http.MethodHead
}

// limit bounds the head of an answer.
type limit struct {
	from io.Reader
	left int   // bytes that may still come; negative: any number
	seen bool  // any came
	err  error // once there was one: a broken connection must not seem to have ended
}

func (l *limit) Read(p []byte) (int, error) {
	switch {
	case l.err != nil:
		return 0, l.err
	case l.left == 0:
		return 0, errHeadTooLong
	case l.left > 0 && len(p) > l.left:
		p = p[:l.left]
	}
	n, err := l.from.Read(p)
	if l.left > 0 {
		l.left -= n
	}
	l.seen = l.seen || n > 0
	l.err = err
	return n, err
}

// explain tells why an answer could not be read: one whose end never came may
// read like nonsense.
func (l *limit) explain(err error) error {
	switch l.err {
	case nil:
		return err
	case io.EOF:
		return io.ErrUnexpectedEOF
	}
	return l.err
}

// answerBody is the body of an answer. At its end the connection goes home.
type answerBody struct {
	from  io.ReadCloser
	conn  *conn
	last  bool // answer on this connection
	ended bool
}

func (b *answerBody) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	n, err := b.from.Read(p)
	if err != nil {
		if err != io.EOF {
			err = b.conn.blame(b.conn.limit.explain(err))
		}
		b.end(err == io.EOF)
	}
	return n, err
}

// await returns once there is something to read, or nothing more will come:
// until then nobody needs a buffer.
func (b *answerBody) await() {
	if !b.ended {
		b.conn.in.Peek(1)
	}
}

// Close ends the connection if the answer has not come to its end: that is how
// Ollama learns that it may stop.
func (b *answerBody) Close() error {
	b.end(false)
	return nil
}

func (b *answerBody) end(whole bool) {
	if b.ended {
		return
	}
	b.ended = true
	c := b.conn
	if undisturbed := c.endWatch(); undisturbed && whole && !b.last && c.in.Buffered() == 0 && (c.sender == nil || c.sender.isWhole()) {
		c.reused = true
		c.home.put(c)
		return
	}
	c.close()
}
