//go:build unix

package e2e_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// revocable are keys that are all revoked at once.
type revocable struct {
	handler.KeyVerifier
	revoked atomic.Bool
}

func (k *revocable) Verify(text string, now time.Time) (signer.Key, error) {
	key, err := k.KeyVerifier.Verify(text, now)
	if err == nil && k.revoked.Load() {
		err = signer.ErrRevoked
	}
	return key, err
}

// slowReaders are clients that ask for a stream without end, and hardly read it.
var slowReaders = []struct {
	name  string
	begin func(t *testing.T, c net.Conn, key string)
}{
	{"HTTP/2, a window that stays shut", func(t *testing.T, c net.Conn, key string) {
		f := framesOf(t, c, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		ask(f, 1, "/api/version", key)
		go io.Copy(io.Discard, c)
	}},
	{"HTTP/2, a window that opens byte by byte", func(t *testing.T, c net.Conn, key string) {
		f := framesOf(t, c, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		ask(f, 1, "/api/version", key)
		go func() {
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				if _, data := frame.(*http2.DataFrame); data {
					time.Sleep(time.Millisecond) // the pace of a slow reader: the test does not depend on it
					f.WriteWindowUpdate(1, 1)
				}
			}
		}()
	}},
	{"HTTP/2, a connection that is not read", func(t *testing.T, c net.Conn, key string) {
		f := framesOf(t, c, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		f.WriteWindowUpdate(0, 1<<30)
		ask(f, 1, "/api/version", key)
	}},
	{"HTTP/2, a connection that is read slowly", func(t *testing.T, c net.Conn, key string) {
		f := framesOf(t, c, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		f.WriteWindowUpdate(0, 1<<30)
		ask(f, 1, "/api/version", key)
		go trickle(c)
	}},
	{"TLS, not read", func(t *testing.T, c net.Conn, key string) { askSecurely(t, c, key) }},
	{"TLS, read slowly", func(t *testing.T, c net.Conn, key string) {
		askSecurely(t, c, key)
		go trickle(c)
	}},
}

func askSecurely(t *testing.T, c net.Conn, key string) {
	t.Helper()
	if _, err := io.WriteString(tls.Client(c, &tls.Config{InsecureSkipVerify: true}), handlertest.Head("GET", "/api/version", handlertest.Bearer(key))+"\r\n"); err != nil {
		t.Fatal(err)
	}
}

// trickle reads a few bytes every 10 ms, the pace of a slow reader. No test depends on it.
func trickle(c net.Conn) {
	for b := make([]byte, 16); ; time.Sleep(10 * time.Millisecond) {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// TestCutEndsSlowReaders: a request that is cut ends soon, with all its resources,
// however slowly its client reads. Otherwise each byte that it reads would extend the
// stall timeout.
func TestCutEndsSlowReaders(t *testing.T) {
	t.Parallel()
	certificate := loadCertificate(t)
	for _, reader := range slowReaders {
		for _, cut := range []string{"revoked", "shutdown"} {
			t.Run(reader.name+", "+cut, func(t *testing.T) {
				t.Parallel()
				keys := &revocable{}
				now := make(chan os.Signal, 1)
				s := handlertest.Start(t, handlertest.Config{
					Certificates: certificate,
					Grace:        time.Millisecond,
					Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						line := []byte(strings.Repeat("a", 64<<10))
						for r.Context().Err() == nil {
							w.Write(line)
						}
					}),
					Proxy: func(o *handler.Options) { keys.KeyVerifier, o.Keys = o.Keys, keys },
					Server: func(s *server.Server) {
						s.ReloadNow, s.ReloadInterval = now, time.Hour
						s.Reloads = []server.Reload{{Name: "revocations", Load: func(context.Context, bool) (bool, error) { return keys.revoked.Load(), nil }}}
					},
				})
				c := narrowKey(s, t)
				key := s.Mint(false, "streams=1")
				reader.begin(t, c, key)
				s.Spy.Await(t, "FirstByte", 1)
				if got := len(s.Proxy.InFlight()); got != 1 {
					t.Fatalf("%d requests are in flight", got)
				}
				if cut == "revoked" {
					keys.revoked.Store(true)
					now <- os.Interrupt
				} else {
					s.Stop()
				}
				s.Spy.Idle(t)
				if outcome := s.Spy.Texts("RequestEnded"); len(outcome) != 1 {
					t.Errorf("recorded as %q", outcome)
				}
				if got := len(s.Proxy.InFlight()); got != 0 {
					t.Errorf("afterwards %d requests are in flight", got)
				}
				if cut == "shutdown" {
					handlertest.Await(t, s.Served, "Serve to return")
					return
				}
				// The key may have one stream, and has its place back.
				keys.revoked.Store(false)
				reader.begin(t, narrowKey(s, t), key)
				s.Spy.Await(t, "FirstByte", 2)
			})
		}
	}
}
