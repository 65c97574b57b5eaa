package downstream

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/http1"
)

// simpleResponse is the http.ResponseWriter of a simple request. Unlike net/http's it
// sends the head and what is flushed first in one write, and sends an answer of
// announced length as soon as its last byte is written.
type simpleResponse struct {
	conn        *simpleConn
	header      http.Header
	isHead      bool // the request is a HEAD: a body that is written is left out
	noBody      bool // an answer of this status has no body
	chunked     bool
	headWritten bool // it is sent, or in buffer
	status      int
	bodyLeft    int64           // bytes of the announced length that are not written yet
	closeAfter  bool            // the connection closes after this answer
	buffer      *responseBuffer // nil while nothing is buffered
	err         error           // of the write that failed
}

// responseBuffer gathers the head and small writes of an answer. A write that does not
// fit is sent without being copied.
type responseBuffer struct{ bytes []byte }

const responseBufferSize = 4 << 10

var responseBuffers = sync.Pool{New: func() any { return &responseBuffer{make([]byte, 0, responseBufferSize)} }}

// begin resets the answer for a new request.
func (a *simpleResponse) begin(r *http.Request) {
	clear(a.header)
	*a = simpleResponse{conn: a.conn, header: a.header, isHead: r.Method == http.MethodHead, closeAfter: r.Close}
}

// Header implements http.ResponseWriter.
func (a *simpleResponse) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter. The head is only written with the first
// byte of the body, or a flush: headers may be set until then.
func (a *simpleResponse) WriteHeader(status int) {
	if a.status != 0 {
		return
	}
	a.status = status
	a.noBody = status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
}

// Write implements http.ResponseWriter.
func (a *simpleResponse) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	switch {
	case a.noBody:
		return 0, http.ErrBodyNotAllowed
	case a.isHead:
		return len(p), nil
	case len(p) == 0:
		return 0, a.err
	}
	a.writeHead(-1)
	if a.chunked {
		return a.writeChunk(p)
	}
	if int64(len(p)) > a.bodyLeft {
		return 0, http.ErrContentLength
	}
	a.bodyLeft -= int64(len(p))
	if len(a.buffer.bytes)+len(p) > responseBufferSize {
		a.flush(p)
		return a.result(len(p))
	}
	if a.buffer.bytes = append(a.buffer.bytes, p...); a.bodyLeft == 0 {
		a.flush()
	}
	return a.result(len(p))
}

func (a *simpleResponse) writeChunk(p []byte) (int, error) {
	b := strconv.AppendInt(a.buffer.bytes, int64(len(p)), 16)
	b = append(b, "\r\n"...)
	if len(b)+len(p) > responseBufferSize {
		a.buffer.bytes = b
		a.flush(p, http1.CRLF)
		return a.result(len(p))
	}
	b = append(b, p...)
	a.buffer.bytes = append(b, http1.CRLF...)
	return a.result(len(p))
}

func (a *simpleResponse) result(n int) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	return n, nil
}

// borrowBuffer borrows a buffer, if the answer has none.
func (a *simpleResponse) borrowBuffer() {
	if a.buffer == nil {
		a.buffer = responseBuffers.Get().(*responseBuffer)
		a.buffer.bytes = a.buffer.bytes[:0]
	}
}

// writeHead writes the head to the buffer, unless it has been written. Length is the
// length of the body if no Content-Length header gives it, or -1: not known.
func (a *simpleResponse) writeHead(length int64) {
	a.borrowBuffer()
	if a.headWritten {
		return
	}
	a.headWritten = true
	b := append(a.buffer.bytes, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(a.status)...)
	b = append(b, "\r\n"...)
	a.bodyLeft = -1
	for name, values := range a.header {
		switch name {
		case "Content-Length":
			if len(values) != 1 || a.noBody {
				continue
			}
			n, err := strconv.ParseUint(values[0], 10, 63)
			if err != nil {
				continue
			}
			a.bodyLeft = int64(n)
		case "Connection":
			a.closeAfter = a.closeAfter || len(values) > 0 && values[0] == "close"
			continue
		case "Transfer-Encoding":
			continue
		}
		for _, value := range values {
			if !http1.IsToken(name) {
				continue
			}
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, oneLine.Replace(value)...)
			b = append(b, "\r\n"...)
		}
	}
	if _, ok := a.header["Date"]; !ok {
		b = append(b, "Date: "...)
		b = append(b, date()...)
		b = append(b, "\r\n"...)
	}
	switch {
	case a.bodyLeft >= 0:
	case length >= 0:
		a.bodyLeft = length
		if !a.noBody && !a.isHead {
			b = append(b, "Content-Length: "...)
			b = strconv.AppendInt(b, length, 10)
			b = append(b, "\r\n"...)
		}
	case !a.noBody && !a.isHead:
		a.chunked = true
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if a.closeAfter {
		b = append(b, "Connection: close\r\n"...)
	}
	a.buffer.bytes = append(b, "\r\n"...)
}

// oneLine replaces line ends in a header's value by spaces, as net/http does.
var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

// FlushError sends the head, if it has not been sent, and what is buffered.
// http.ResponseController.Flush calls it.
func (a *simpleResponse) FlushError() error {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	a.writeHead(-1)
	a.flush()
	return a.err
}

// flush sends the buffer, followed by the given pieces, and returns it to the pool.
func (a *simpleResponse) flush(more ...[]byte) {
	if a.buffer == nil {
		return
	}
	switch {
	case a.err != nil:
	case len(more) > 0:
		_, a.err = a.conn.client.writeAll(append(net.Buffers{a.buffer.bytes}, more...))
	case len(a.buffer.bytes) > 0:
		_, a.err = a.conn.client.Write(a.buffer.bytes)
	}
	if cap(a.buffer.bytes) == responseBufferSize { // a long head has made it grow
		responseBuffers.Put(a.buffer)
	}
	a.buffer = nil
}

// finish sends the end of the answer. It reports whether another request may follow on
// the connection: the answer is whole, and no header says that the connection closes.
func (a *simpleResponse) finish() (more bool) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if !a.headWritten {
		a.writeHead(0)
	}
	if a.chunked {
		a.borrowBuffer()
		a.buffer.bytes = append(a.buffer.bytes, "0\r\n\r\n"...)
	}
	a.flush()
	return a.err == nil && !a.closeAfter && (a.noBody || a.isHead || a.chunked || a.bodyLeft == 0)
}

// SetReadDeadline implements the method of http.ResponseController.
func (a *simpleResponse) SetReadDeadline(t time.Time) error {
	a.conn.readDeadlineSet.Store(true)
	return a.conn.client.SetReadDeadline(t)
}

// SetWriteDeadline implements the method of http.ResponseController.
func (a *simpleResponse) SetWriteDeadline(t time.Time) error {
	a.conn.writeDeadlineSet.Store(true)
	return a.conn.client.SetWriteDeadline(t)
}

// EnableFullDuplex implements the method of http.ResponseController. It has nothing to
// do: only the handler reads the request's body.
func (a *simpleResponse) EnableFullDuplex() error { return nil }

// date returns the current time in the form of a Date header. The text is cached for a
// second.
func date() string {
	now := time.Now()
	d := lastDate.Load()
	if d == nil || d.second != now.Unix() {
		d = &dateText{now.Unix(), now.UTC().Format(http.TimeFormat)}
		lastDate.Store(d)
	}
	return d.text
}

type dateText struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[dateText]
