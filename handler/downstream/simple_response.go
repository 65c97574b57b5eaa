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

// simpleResponse is the http.ResponseWriter of a simple request. It differs from
// net/http's in that what is flushed goes out in one piece, head and all, and
// an answer whose length is announced goes out with its last byte.
type simpleResponse struct {
	conn    *simpleConn
	header  http.Header
	isHead  bool // what is written is left out
	noBody  bool // the status has none
	chunked bool
	begun   bool // the head is written, or in out
	status  int
	left    int64 // bytes of an announced length that are still to come
	last    bool  // request on its connection
	out     *responseBuffer
	err     error // once writing has failed
}

// responseBuffer is what an answer gathers before it goes out. What is larger is not
// copied.
type responseBuffer struct{ bytes []byte }

const responseBufferSize = 4 << 10

var responseBuffers = sync.Pool{New: func() any { return &responseBuffer{make([]byte, 0, responseBufferSize)} }}

// begin makes the answer ready for a request.
func (a *simpleResponse) begin(r *http.Request) {
	clear(a.header)
	*a = simpleResponse{conn: a.conn, header: a.header, isHead: r.Method == http.MethodHead, last: r.Close}
}

// Header implements http.ResponseWriter.
func (a *simpleResponse) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter. The head is written with what
// follows, so that headers may still be set until then.
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
	if int64(len(p)) > a.left {
		return 0, http.ErrContentLength
	}
	a.left -= int64(len(p))
	if len(a.out.bytes)+len(p) > responseBufferSize {
		a.flush(p)
		return a.written(len(p))
	}
	if a.out.bytes = append(a.out.bytes, p...); a.left == 0 {
		a.flush()
	}
	return a.written(len(p))
}

func (a *simpleResponse) writeChunk(p []byte) (int, error) {
	b := strconv.AppendInt(a.out.bytes, int64(len(p)), 16)
	b = append(b, "\r\n"...)
	if len(b)+len(p) > responseBufferSize {
		a.out.bytes = b
		a.flush(p, http1.CRLF)
		return a.written(len(p))
	}
	b = append(b, p...)
	a.out.bytes = append(b, http1.CRLF...)
	return a.written(len(p))
}

func (a *simpleResponse) written(n int) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	return n, nil
}

// hold sees to it that there is a buffer.
func (a *simpleResponse) hold() {
	if a.out == nil {
		a.out = responseBuffers.Get().(*responseBuffer)
		a.out.bytes = a.out.bytes[:0]
	}
}

// writeHead writes the head, if that has not been done. Length is that of the
// body where the headers do not say it; -1: not known.
func (a *simpleResponse) writeHead(length int64) {
	a.hold()
	if a.begun {
		return
	}
	a.begun = true
	b := append(a.out.bytes, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(a.status)...)
	b = append(b, "\r\n"...)
	a.left = -1
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
			a.left = int64(n)
		case "Connection":
			a.last = a.last || len(values) > 0 && values[0] == "close"
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
	case a.left >= 0:
	case length >= 0:
		a.left = length
		if !a.noBody && !a.isHead {
			b = append(b, "Content-Length: "...)
			b = strconv.AppendInt(b, length, 10)
			b = append(b, "\r\n"...)
		}
	case !a.noBody && !a.isHead:
		a.chunked = true
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if a.last {
		b = append(b, "Connection: close\r\n"...)
	}
	a.out.bytes = append(b, "\r\n"...)
}

// oneLine keeps a value from ending its line, as net/http does.
var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

// FlushError sends what has been written, the head at least. It is what
// http.ResponseController calls.
func (a *simpleResponse) FlushError() error {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	a.writeHead(-1)
	a.flush()
	return a.err
}

// flush sends what has been gathered, and what follows it.
func (a *simpleResponse) flush(more ...[]byte) {
	if a.out == nil {
		return
	}
	switch {
	case a.err != nil:
	case len(more) > 0:
		_, a.err = a.conn.client.writeAll(append(net.Buffers{a.out.bytes}, more...))
	case len(a.out.bytes) > 0:
		_, a.err = a.conn.client.Write(a.out.bytes)
	}
	if cap(a.out.bytes) == responseBufferSize { // a head may have made it larger
		responseBuffers.Put(a.out)
	}
	a.out = nil
}

// finish sends what is left. It reports whether the answer is whole and was not
// to be the last on its connection.
func (a *simpleResponse) finish() (more bool) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if !a.begun {
		a.writeHead(0)
	}
	if a.chunked {
		a.hold()
		a.out.bytes = append(a.out.bytes, "0\r\n\r\n"...)
	}
	a.flush()
	return a.err == nil && !a.last && (a.noBody || a.isHead || a.chunked || a.left == 0)
}

// SetReadDeadline is what http.ResponseController calls.
func (a *simpleResponse) SetReadDeadline(t time.Time) error {
	a.conn.rearm.Store(true)
	return a.conn.client.SetReadDeadline(t)
}

// SetWriteDeadline is what http.ResponseController calls.
func (a *simpleResponse) SetWriteDeadline(t time.Time) error {
	a.conn.hurry.Store(true)
	return a.conn.client.SetWriteDeadline(t)
}

// EnableFullDuplex is what http.ResponseController calls. Nothing is read here
// but what the handler asks for.
func (a *simpleResponse) EnableFullDuplex() error { return nil }

// date is the time in the form of a Date header, to the second.
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
