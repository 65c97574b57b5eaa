package e2e_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"weak"

	"golang.org/x/net/http2"

	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
)

// TestAnIdleConnectionIsClosed, whoever serves it.
func TestAnIdleConnectionIsClosed(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		secure  bool
		request string
	}{
		{name: "in the clear", request: "GET /api/version HTTP/1.1\r\nHost: x\r\n\r\n"},
		{name: "in the clear, served by net/http", request: "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"},
		{name: "over TLS", secure: true, request: "GET /api/version HTTP/1.1\r\nHost: x\r\n\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := handlertest.Config{Server: func(s *server.Server) { s.IdleTimeout = 10 * time.Millisecond }}
			if row.secure {
				c.Certificates = loadCertificate(t)
			}
			s := handlertest.Start(t, c)
			conn, err := net.Dial("tcp", s.Public)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(handlertest.Timeout))
			if row.secure {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			}
			io.WriteString(conn, row.request)
			in := bufio.NewReader(conn)
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}

// TestAnIdleClientOfHTTP2IsToldFirst: what it sends after GOAWAY is still answered.
func TestAnIdleClientOfHTTP2IsToldFirst(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Certificates: loadCertificate(t), Server: func(s *server.Server) { s.IdleTimeout = time.Millisecond }})
	h := dialH2(s, t)
	for {
		f, err := h.ReadFrame()
		if err != nil {
			t.Fatalf("no GOAWAY, but %v", err)
		}
		if f, ok := f.(*http2.GoAwayFrame); ok {
			if f.ErrCode != http2.ErrCodeNo || f.LastStreamID != 1<<31-1 {
				t.Errorf("it is %v", f)
			}
			break
		}
	}
	h.all(1, h.encode(request2{}.fields(s.Key)...))
	if got := h.end(1); got != "200" {
		t.Errorf("after GOAWAY a request ends with %q", got)
	}
}

// TestNothingIsKeptOfAConnectionThatHasEnded, though it ended in mid-stream.
func TestNothingIsKeptOfAConnectionThatHasEnded(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var conns []weak.Pointer[downstream.Conn]
	s := handlertest.Start(t, handlertest.Config{Certificates: loadCertificate(t), Server: func(s *server.Server) {
		s.CORS = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				conns = append(conns, weak.Make(downstream.ConnOf(r.Context())))
				mu.Unlock()
				next.ServeHTTP(w, r)
			})
		}
	}})
	const many = 20
	for range many {
		h := dialH2(s, t)
		h.set(http2.SettingInitialWindowSize, 0) // the answer's body stays where it is
		h.all(1, h.encode(request2{}.fields("x")...))
		for {
			if f, err := h.ReadFrame(); err != nil {
				t.Fatal(err)
			} else if _, ok := f.(*http2.MetaHeadersFrame); ok {
				break
			}
		}
		h.conn.NetConn().Close()
	}
	kept := func(c weak.Pointer[downstream.Conn]) bool { return c.Value() != nil }
	for until := time.Now().Add(handlertest.Timeout); ; time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		mu.Lock()
		none := len(conns) == many && !slices.ContainsFunc(conns, kept)
		mu.Unlock()
		if none {
			return
		}
		if time.Now().After(until) {
			t.Fatal("something is kept")
		}
	}
}
