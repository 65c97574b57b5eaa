//go:build unix

package e2e_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/certs"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
)

// TestClientsThatNeverRead: a client that sends requests and reads no answer is
// disconnected, with a key and without, also if the answers are so short that the proxy
// has sent them before it could notice.
func TestClientsThatNeverRead(t *testing.T) {
	t.Parallel()
	cors, err := server.AllowOrigins([]string{"https://chat.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	short := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 2000)) })
	for name, request := range map[string]func(*handlertest.Site) string{
		"a stranger": func(*handlertest.Site) string { return handlertest.Head("GET", "/api/version") },
		"a key": func(s *handlertest.Site) string {
			return handlertest.Head("GET", "/api/version", handlertest.Bearer(s.Key))
		},
		"a key, on no route": func(s *handlertest.Site) string {
			return handlertest.Head("GET", "/nowhere", handlertest.Bearer(s.Key))
		},
		"a page": func(*handlertest.Site) string {
			return handlertest.Head("OPTIONS", "/api/chat", "Origin: https://chat.example.com", "Access-Control-Request-Method: POST")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{CORS: cors, Upstream: short, Proxy: func(o *handler.Options) { o.StallTimeout = ample }})
			w := narrowKey(s, t)
			for {
				_, err := io.WriteString(w, request(s)+"\r\n")
				if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
					t.Fatal("the connection lives on")
				}
				if err != nil {
					return
				}
			}
		})
	}
}

// narrow connects such that next to nothing can be on its way.
func narrowKey(s *handlertest.Site, t *testing.T) net.Conn {
	t.Helper()
	shrink := func(raw syscall.RawConn, option int) error {
		return raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, option, 1<<10) })
	}
	raw, err := s.Listeners[0].(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	shrink(raw, syscall.SO_SNDBUF)
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error { return shrink(raw, syscall.SO_RCVBUF) }}
	c, err := d.Dial("tcp", s.Public)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(handlertest.Timeout))
	return c
}

// framesOf is a client of HTTP/2, over TLS, that does nothing by itself.
func framesOf(t *testing.T, c net.Conn, settings ...http2.Setting) *http2.Framer {
	t.Helper()
	encrypted := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := encrypted.Handshake(); err != nil {
		t.Fatal(err)
	}
	io.WriteString(encrypted, http2.ClientPreface)
	f := http2.NewFramer(encrypted, encrypted)
	f.WriteSettings(settings...)
	return f
}

// ask sends a request without a body.
func ask(f *http2.Framer, stream uint32, path, key string) error {
	var block strings.Builder
	e := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "proxy.example"}, {":path", path}, {"authorization", "Bearer " + key}} {
		e.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte(block.String()), EndHeaders: true, EndStream: true})
}

// TestHTTP2WindowStaysClosed: a client of HTTP/2 that never opens its window gets no
// answer, and is not waited for forever.
func TestHTTP2WindowStaysClosed(t *testing.T) {
	t.Parallel()
	certificate, err := certs.LoadCertificate(issue(t, t.TempDir(), 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []bool{false, true} {
		s := handlertest.Start(t, handlertest.Config{Certificates: certificate, Proxy: func(o *handler.Options) { o.StallTimeout = ample }})
		key := "nothing"
		if known {
			key = s.Key
		}
		f := framesOf(t, s.Dial(t), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		if err := ask(f, 1, "/api/version", key); err != nil {
			t.Fatal(err)
		}
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatalf("with a key %t: %v", known, err)
			}
			if _, data := frame.(*http2.DataFrame); data {
				t.Fatalf("with a key %t: data in a window that is shut", known)
			}
			if _, reset := frame.(*http2.RSTStreamFrame); reset {
				break
			}
		}
	}
}

// TestHTTP2ConnectionNotRead: it ends with all its streams.
func TestHTTP2ConnectionNotRead(t *testing.T) {
	t.Parallel()
	certificate, err := certs.LoadCertificate(issue(t, t.TempDir(), 1))
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{
		Certificates: certificate,
		Proxy:        func(o *handler.Options) { o.StallTimeout = ample },
		Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(gone)
			line := []byte(strings.Repeat("a", 64<<10))
			for r.Context().Err() == nil {
				w.Write(line)
			}
		}),
	})
	c := narrowKey(s, t)
	f := framesOf(t, c, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	if err := ask(f, 1, "/api/version", s.Key); err != nil {
		t.Fatal(err)
	}
	handlertest.Await(t, gone, "Ollama to be let go")
	s.Spy.Idle(t)
	_, err = io.Copy(io.Discard, c)
	if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
		t.Error("the connection lives on")
	}
}
