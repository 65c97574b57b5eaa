package e2e_test

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestHTTP2Floods: frames that cost a client without a key nothing, and the server
// something, are limited, and other clients are served meanwhile.
func TestHTTP2Floods(t *testing.T) {
	t.Parallel()
	for _, flood := range []struct {
		name  string
		begin func(h *h2) // before the flood
		frame func(h *h2) // of which it is made
		many  int         // frames in one write
		most  int         // writes
		ends  bool        // the server does not take so many
	}{
		{"a head without end", func(h *h2) { h.raw(http2.FrameHeaders, 0, 1, h.encode(request2{}.fields("x")...)) },
			func(h *h2) {
				h.raw(http2.FrameContinuation, 0, 1, h.encode("x: "+strings.Repeat("a", 16000)))
			}, 10, 200, true},
		// It costs no memory, and the connection is idle all the time: that ends
		// it, after two minutes.
		{"a head without end, of nothing", func(h *h2) { h.raw(http2.FrameHeaders, 0, 1, h.encode(request2{}.fields("x")...)) },
			func(h *h2) { h.raw(http2.FrameContinuation, 0, 1, nil) }, 1000, 10, false},
		// net/http keeps 10,000 answers for who does not read them.
		{"pings whose answers are not read", func(*h2) {},
			func(h *h2) { h.try(h.WritePing(false, [8]byte{})) }, 1000, 20, false},
		{"settings whose answers are not read", func(*h2) {},
			func(h *h2) { h.try(h.WriteSettings()) }, 1000, 20, false},
		{"resets of a request", func(h *h2) { h.open(1, h.encode(request2{}.fields("x")...)) },
			func(h *h2) { h.try(h.WriteRSTStream(1, http2.ErrCodeCancel)) }, 1000, 10, false},
		{"body of nothing", func(h *h2) { h.open(1, h.encode(request2{}.fields("x")...)) },
			func(h *h2) { h.body(1, false, "") }, 1000, 10, false},
	} {
		t.Run(flood.name, func(t *testing.T) {
			t.Parallel()
			s, tap := startSecure(t, handlertest.Config{})
			h := dialH2(s, t)
			h.conn.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
			flood.begin(h)
			var wave bytes.Buffer
			conn := h.Framer
			h.Framer = http2.NewFramer(&wave, nil)
			h.AllowIllegalWrites = true
			for range flood.many {
				flood.frame(h)
			}
			h.Framer = conn
			n := 0
			for n < flood.most {
				if _, err := h.conn.Write(wave.Bytes()); err != nil {
					h.try(err)
					break
				}
				n++
			}
			if ended := n < flood.most; ended != flood.ends {
				t.Errorf("the server took %d of %d", n, flood.most)
			}
			another := dialH2(s, t)
			another.all(1, another.encode(request2{}.fields(s.Key)...))
			if got := another.end(1); got != "200" {
				t.Errorf("another client: %q", got)
			}
			another.conn.Close()
			h.conn.Close()
			s.Spy.Idle(t)
			if arrived := tap.take(t, s.Upstream); len(arrived) != 1 {
				t.Errorf("sent on %v", arrived)
			}
		})
	}
}

// TestClosedWindowsAreLimited: streams that are refused, and whose windows stay closed,
// hold no more memory than the limit, also if net/http refuses them before any handler.
// Clients with a key are served.
func TestClosedWindowsAreLimited(t *testing.T) {
	t.Parallel()
	const many, mostOpen = 40, 28 // 56 MiB, at 2 MiB each
	via := bytes.Repeat([]byte{0x80 | 60}, 2500)
	for name, fields := range map[string]int{"401": 1700, "431": 2500} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{Certificates: loadCertificate(t), Proxy: func(o *handler.Options) { o.StallTimeout = time.Hour }})
			var all []*h2
			for range many {
				h := dialH2(s, t)
				h.set(http2.SettingInitialWindowSize, 0)
				for i := range uint32(100) {
					h.raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 2*i+1, append(h.encode(request2{}.fields("x")...), via[:fields]...))
				}
				h.try(h.WritePing(false, [8]byte{}))
				for { // until all of that has been read, or the connection is closed
					f, err := h.ReadFrame()
					if ping, ok := f.(*http2.PingFrame); err != nil || ok && ping.IsAck() {
						break
					}
				}
				all = append(all, h)
			}
			count := func() (open int) {
				for _, h := range all {
					h.conn.SetDeadline(time.Now().Add(time.Millisecond))
					err := error(nil)
					for err == nil {
						_, err = h.conn.NetConn().Read(make([]byte, 4<<10))
					}
					if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
						open++
					}
				}
				return open
			}
			open := count()
			for until := time.Now().Add(handlertest.Timeout); open > mostOpen && time.Now().Before(until); {
				open = count() // the closing may be on its way
			}
			if open > mostOpen || open < 1 {
				t.Errorf("%d of %d connections are open", open, many)
			}
			another := dialH2(s, t)
			another.all(1, another.encode(request2{}.fields(s.Key)...))
			if got := another.end(1); got != "200" {
				t.Errorf("another client: %q", got)
			}
		})
	}
}

// crowd is a Recorder that counts the requests that there are at once.
type crowd struct {
	handler.Recorder
	now, most atomic.Int32
}

func (c *crowd) RequestStarted(route int) {
	n := c.now.Add(1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	c.Recorder.RequestStarted(route)
}

func (c *crowd) RequestEnded(route int, method string, code int, took time.Duration) {
	c.Recorder.RequestEnded(route, method, code, took)
	c.now.Add(-1)
}

// TestRapidReset: CVE-2023-44487. A client that resets its streams at once may send
// many, but never has more in flight than other clients may, and each request at Ollama
// is cancelled.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	const atOnce = 100 // on one connection
	c := &crowd{}
	s := handlertest.Start(t, handlertest.Config{Certificates: loadCertificate(t), Proxy: func(o *handler.Options) {
		c.Recorder, o.Recorder = o.Recorder, c
	}})
	h := dialH2(s, t)
	ask := func(stream uint32) {
		body := handlertest.Chats[0].Ask("hang", true)
		h.open(stream, h.encode(request2{lines: []string{":path: /api/chat"}}.fields(s.Key)...))
		h.body(stream, true, body)
	}
	stream := uint32(1)
	for ; stream < 2*(atOnce+50); stream += 2 {
		ask(stream)
	}
	if got := h.end(stream - 2); got != "refused" {
		t.Errorf("the last of too many: %q", got)
	}
	s.AwaitRequest(t, atOnce)
	for reset := uint32(1); reset < stream; reset += 2 {
		h.try(h.WriteRSTStream(reset, http2.ErrCodeCancel))
	}
	for range 2000 {
		ask(stream)
		h.try(h.WriteRSTStream(stream, http2.ErrCodeCancel))
		stream += 2
	}
	h.conn.Close()
	s.Spy.Idle(t)
	if most := c.most.Load(); most != atOnce {
		t.Errorf("%d requests at once", most)
	}
	for _, seen := range s.Ollama.Seen() {
		handlertest.Await(t, seen.Gone, "Ollama to be let go")
	}
}
