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

// Wire is a client's connection with nothing in between that would hide
// anything.
type Wire struct {
	*net.TCPConn
	T   *testing.T
	R   *bufio.Reader
	Raw *bytes.Buffer // all that came
}

func Dial(t *testing.T, address string) *Wire {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(Patience))
	raw := &bytes.Buffer{}
	return &Wire{c.(*net.TCPConn), t, bufio.NewReader(io.TeeReader(c, raw)), raw}
}

func (w *Wire) Writef(format string, a ...any) {
	w.T.Helper()
	if _, err := fmt.Fprintf(w, format, a...); err != nil {
		w.T.Fatal(err)
	}
}

// Head is the start of a request: its line, a Host, the lines of headers, and
// no empty line at the end.
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

// Answer is what came back to a request.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	Err    error // why the body ended, if not by its proper end
}

// Begun reads the head of an answer, and any 1xx before it; the body is left
// to read.
func (w *Wire) Begun(method string) *http.Response {
	w.T.Helper()
	for {
		r, err := http.ReadResponse(w.R, &http.Request{Method: method})
		if err != nil {
			w.T.Fatalf("instead of an answer: %q, %v", w.Raw, err)
		}
		if r.StatusCode >= 200 {
			return r
		}
	}
}

// Answer reads an answer to its end, whatever that is.
func (w *Wire) Answer(method string) Answer {
	w.T.Helper()
	r := w.Begun(method)
	body, err := io.ReadAll(r.Body)
	return Answer{r.StatusCode, r.Header, string(body), err}
}

// End reads what is left, and returns how the connection ended: nil is an
// orderly close.
func (w *Wire) End() error {
	_, err := io.Copy(io.Discard, w.R)
	return err
}

// Closed fails the test unless the server has closed the connection, one way
// or another, without sending more.
func (w *Wire) Closed() {
	w.T.Helper()
	n, err := io.Copy(io.Discard, w.R)
	var late net.Error
	if n != 0 || errors.As(err, &late) && late.Timeout() {
		w.T.Errorf("the connection was not closed: %d bytes more, %v", n, err)
	}
}

func Bearer(key string) string { return "Authorization: Bearer " + key }

func (a Answer) String() string {
	return fmt.Sprintf("status %d, %d bytes, %v", a.Status, len(a.Body), cmp.Or(a.Err, errors.New("whole")))
}
