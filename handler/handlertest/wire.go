package handlertest

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Wire is a client's TCP connection, on which a test writes and reads raw bytes.
type Wire struct {
	*net.TCPConn
	T        *testing.T
	R        *bufio.Reader
	Received *bytes.Buffer // all bytes that R has read
}

// Dial connects to the address until the test ends, and sets a deadline of [Timeout].
func Dial(t *testing.T, address string) *Wire {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(Timeout))
	raw := &bytes.Buffer{}
	return &Wire{c.(*net.TCPConn), t, bufio.NewReader(io.TeeReader(c, raw)), raw}
}

// Writef writes formatted bytes.
func (w *Wire) Writef(format string, a ...any) {
	w.T.Helper()
	if _, err := fmt.Fprintf(w, format, a...); err != nil {
		w.T.Fatal(err)
	}
}

// Head returns the head of a request without the empty line at its end: the request line,
// a Host, and the lines of headers.
func Head(method, target string, headers ...string) string {
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: proxy.example"}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n"
}

// Send sends a request with a body of known length.
func (w *Wire) Send(method, target, body string, headers ...string) {
	w.T.Helper()
	if method == "POST" || body != "" {
		headers = append(headers, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	if _, err := io.WriteString(w, Head(method, target, headers...)+"\r\n"+body); err != nil {
		w.T.Fatal(err)
	}
}

// Answer is the answer to a request.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	Err    error // why the body ended early; nil: it is complete
}

// ReadHead reads the head of an answer, and skips any 1xx before it. The body is not read.
func (w *Wire) ReadHead(method string) *http.Response {
	w.T.Helper()
	for {
		r, err := http.ReadResponse(w.R, &http.Request{Method: method})
		if err != nil {
			w.T.Fatalf("instead of an answer: %q, %v", w.Received, err)
		}
		if r.StatusCode >= 200 {
			return r
		}
	}
}

// Answer reads an answer to its end, or until its body breaks off.
func (w *Wire) Answer(method string) Answer {
	w.T.Helper()
	r := w.ReadHead(method)
	body, err := io.ReadAll(r.Body)
	return Answer{r.StatusCode, r.Header, string(body), err}
}

// ReadToEnd reads and drops all further bytes. It returns nil if the connection was closed
// in an orderly way, or the error with which it ended.
func (w *Wire) ReadToEnd() error {
	_, err := io.Copy(io.Discard, w.R)
	return err
}

// ExpectClosed fails the test unless the server closes the connection, in any way, without
// sending more.
func (w *Wire) ExpectClosed() {
	w.T.Helper()
	n, err := io.Copy(io.Discard, w.R)
	var late net.Error
	if n != 0 || errors.As(err, &late) && late.Timeout() {
		w.T.Errorf("the connection was not closed: %d bytes more, %v", n, err)
	}
}

// Bearer returns the line of the header that carries a key.
func Bearer(key string) string { return "Authorization: Bearer " + key }

// String describes the answer for the message of a test that fails.
func (a Answer) String() string {
	return fmt.Sprintf("status %d, %d bytes, %v", a.Status, len(a.Body), cmp.Or(a.Err, errors.New("whole")))
}
