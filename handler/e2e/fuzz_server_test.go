package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// fuzzed is a server whose clients write anything at all.
type fuzzed struct {
	handler.Recorder
	clients   net.Listener
	handled   atomic.Int32
	complaint atomic.Pointer[string] // of the log, above debug and info

	mu      sync.Mutex
	arrived [][]byte
}

// written is what became of what a client has written.
type written struct {
	handled   int // requests
	arrived   [][]byte
	answers   []byte
	complaint *string // of the log
}

func startFuzzed(f *testing.F, clients net.Listener) *fuzzed {
	f.Helper()
	secret, err := signer.ParseSecret(fuzzSecret)
	if err != nil {
		f.Fatal(err)
	}
	s := &fuzzed{Recorder: handlertest.NopRecorder{}, clients: clients}
	server := &server.Server{
		Proxy: handler.New(handler.Options{
			Upstream: &url.URL{Scheme: "http", Host: "ollama"},
			Keys:     signer.NewVerifier(secret), Recorder: s, Transport: roundTripper(s.roundTrip),
			Log: slog.New(slog.NewTextHandler(complaints{s}, &slog.HandlerOptions{Level: slog.LevelError})),
		}),
		Metrics: http.NotFoundHandler(),
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		server.Serve(ctx, s.clients, newInProcess())
		close(over)
	}()
	f.Cleanup(func() {
		stop()
		<-over
	})
	return s
}

// writeInProcess lets a client without a socket write raw and nothing more: it is
// there at once, and it is known when the server has done with it.
func (s *fuzzed) writeInProcess(t *testing.T, raw string) written {
	s.begin()
	c := &fuzzedConn{in: []byte(raw), over: make(chan struct{}), woken: make(chan struct{}, 1)}
	s.clients.(*inProcess).conns <- c
	select {
	case <-c.over:
	case <-time.After(hanging):
		t.Fatal("the server hangs")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.end(c.out)
}

// writeSocket lets a client write raw and leave.
func (s *fuzzed) writeSocket(t *testing.T, raw string) written {
	s.begin()
	conn, err := net.Dial("tcp", s.clients.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := conn.(*net.TCPConn)
	defer c.Close()
	c.SetLinger(0) // or there were soon no ports left
	c.SetDeadline(time.Now().Add(hanging))
	io.WriteString(c, raw)
	c.CloseWrite()
	answers, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the server hangs")
	}
	return s.end(answers)
}

// hanging is how long nothing may happen: the fuzzer has less patience than a test.
const hanging = 5 * time.Second

func (s *fuzzed) begin() {
	s.handled.Store(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived = nil
}

func (s *fuzzed) end(answers []byte) written {
	s.mu.Lock()
	defer s.mu.Unlock()
	return written{int(s.handled.Load()), s.arrived, answers, s.complaint.Swap(nil)}
}

func (s *fuzzed) RequestStarted(int) { s.handled.Add(1) }

// roundTrip writes a request as http.Transport would.
func (s *fuzzed) roundTrip(r *http.Request) (*http.Response, error) {
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		return nil, err
	}
	if r.UserAgent() != "ollama-proxy" {
		s.mu.Lock()
		s.arrived = append(s.arrived, b.Bytes())
		s.mu.Unlock()
	}
	return http.ReadResponse(bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")), r)
}

// inProcess is a listener whose connections are made, not dialled.
type inProcess struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func newInProcess() *inProcess {
	return &inProcess{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *inProcess) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *inProcess) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *inProcess) Addr() net.Addr { return &net.TCPAddr{} }

// complaints is a log in which there should be nothing.
type complaints struct{ s *fuzzed }

func (c complaints) Write(line []byte) (int, error) {
	text := string(line)
	c.s.complaint.Store(&text)
	return len(line), nil
}

// fuzzedConn is the server's end of a client that writes something, and then has
// no more to say. While a request is being answered it is just silent.
type fuzzedConn struct {
	woken chan struct{}

	mu     sync.Mutex
	in     []byte
	out    []byte
	late   bool // the read deadline has passed
	closed bool
	over   chan struct{}
}

func (c *fuzzedConn) Read(b []byte) (int, error) {
	for {
		c.mu.Lock()
		switch {
		case c.closed:
			c.mu.Unlock()
			return 0, net.ErrClosed
		case c.late:
			c.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(c.in) > 0:
			n := copy(b, c.in)
			c.in = c.in[n:]
			c.mu.Unlock()
			return n, nil
		case len(b) > 1 || !inBackground():
			c.mu.Unlock()
			return 0, io.EOF
		}
		c.mu.Unlock()
		<-c.woken
	}
}

// inBackground tells net/http's reads for the next request from the one by which
// it finds out, while a request is answered, that its client has left.
func inBackground() bool {
	var pcs [8]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, ".backgroundRead") || !more {
			return more
		}
	}
}

func (c *fuzzedConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, b...)
	return len(b), nil
}

func (c *fuzzedConn) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

func (c *fuzzedConn) SetReadDeadline(t time.Time) error {
	c.change(func() { c.late = !t.IsZero() && !t.After(time.Now()) })
	return nil
}

// CloseWrite is what the client sees as the end; net/http may wait before it
// closes the rest.
func (c *fuzzedConn) CloseWrite() error {
	c.change(func() {
		select {
		case <-c.over:
		default:
			close(c.over)
		}
	})
	return nil
}

func (c *fuzzedConn) Close() error {
	c.change(func() { c.closed = true })
	return c.CloseWrite()
}

func (c *fuzzedConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *fuzzedConn) SetWriteDeadline(time.Time) error { return nil }
func (c *fuzzedConn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (c *fuzzedConn) RemoteAddr() net.Addr             { return c.LocalAddr() }
