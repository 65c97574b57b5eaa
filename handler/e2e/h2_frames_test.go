package e2e_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// frames are a request with a valid key, POST /api/show of tiny on stream 1, that
// comes in frames as no client sends them. Send gets the block of its head.
var frames = []struct {
	name string
	send func(h *h2, head []byte)
	ends string // see h2.end
}{
	{"as it should be", func(h *h2, head []byte) { h.all(1, head) }, "200"},
	{"a stream that is even", func(h *h2, head []byte) { h.all(2, head) }, "refused"},
	{"no stream", func(h *h2, head []byte) { h.raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 0, head) }, "refused"},
	{"two heads", func(h *h2, head []byte) { h.open(1, head); h.open(1, head) }, "refused"},
	{"two heads, the second ends", func(h *h2, head []byte) {
		h.open(1, head)
		h.raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, head)
	}, "refused"},
	{"an older stream after a newer", func(h *h2, head []byte) {
		h.raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 3, head)
		h.open(1, head)
	}, "refused"},
	{"data after the end", func(h *h2, head []byte) { h.all(1, head); h.body(1, true, tiny); h.body(1, true, tiny) }, "*"},
	{"data before the head", func(h *h2, head []byte) { h.body(1, false, tiny); h.all(1, head) }, "refused"},
	{"data for no stream", func(h *h2, head []byte) { h.open(1, head); h.raw(http2.FrameData, 1, 0, []byte(tiny)) }, "refused"},
	{"data with more padding than data", func(h *h2, head []byte) {
		h.open(1, head)
		h.raw(http2.FrameData, http2.FlagDataPadded|http2.FlagDataEndStream, 1, []byte("\xff"+tiny))
	}, "refused"},
	{"data with padding", func(h *h2, head []byte) {
		h.open(1, head)
		h.raw(http2.FrameData, http2.FlagDataPadded|http2.FlagDataEndStream, 1, []byte("\x04"+tiny+"evil"))
	}, "200"},
	{"data byte by byte", func(h *h2, head []byte) {
		h.open(1, head)
		for i := range tiny {
			h.body(1, false, tiny[i:i+1])
			h.body(1, false, "")
		}
		h.body(1, true, "")
	}, "200"},
	{"a reset, and then data", func(h *h2, head []byte) {
		h.open(1, head)
		h.try(h.WriteRSTStream(1, http2.ErrCodeCancel))
		h.body(1, true, tiny)
		h.try(h.WritePing(false, [8]byte{})) // until that is answered there is no end
	}, "*"},
	{"a reset of nothing", func(h *h2, head []byte) { h.try(h.WriteRSTStream(1, http2.ErrCodeCancel)); h.all(1, head) }, "refused"},
	{"a head in many pieces", func(h *h2, head []byte) {
		h.raw(http2.FrameHeaders, 0, 1, head[:1])
		for i := range head[1:] {
			h.raw(http2.FrameContinuation, 0, 1, head[1+i:2+i])
		}
		h.raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, nil)
		h.body(1, true, tiny)
	}, "200"},
	{"a continuation of nothing", func(h *h2, head []byte) { h.raw(http2.FrameContinuation, 4, 1, head); h.body(1, true, tiny) }, "refused"},
	{"a continuation on another stream", func(h *h2, head []byte) {
		h.raw(http2.FrameHeaders, 0, 1, head[:9])
		h.raw(http2.FrameContinuation, 4, 3, head[9:])
	}, "refused"},
	{"something in the midst of a head", func(h *h2, head []byte) {
		h.raw(http2.FrameHeaders, 0, 1, head[:9])
		h.try(h.WritePing(false, [8]byte{}))
		h.raw(http2.FrameContinuation, 4, 1, head[9:])
	}, "refused"},
	{"data in the midst of a head", func(h *h2, head []byte) { h.raw(http2.FrameHeaders, 0, 1, head); h.body(1, true, tiny) }, "refused"},
	{"padding larger than the head", func(h *h2, head []byte) {
		h.raw(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersEndHeaders, 1, append([]byte{255}, head...))
	}, "refused"},
	{"a stream that depends on itself", func(h *h2, head []byte) {
		h.raw(http2.FrameHeaders, http2.FlagHeadersPriority|http2.FlagHeadersEndHeaders, 1, append([]byte{0, 0, 0, 1, 0}, head...))
		h.body(1, true, tiny)
	}, "refused"},
	{"a head that is no HPACK", func(h *h2, head []byte) { h.open(1, []byte{0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) }, "refused"},
	{"a head from a table that is empty", func(h *h2, head []byte) { h.open(1, append([]byte{0xff, 0x80, 0x7f}, head...)) }, "refused"},
	{"a head with too large a table", func(h *h2, head []byte) { h.open(1, append([]byte{0x3f, 0xff, 0xff, 0x7f}, head...)) }, "refused"},
	{"a head with half a string", func(h *h2, head []byte) { h.open(1, head[:len(head)-3]) }, "refused"},
	{"a head of forty megabytes in ten kilobytes", func(h *h2, head []byte) {
		bomb := append(h.encode("x: "+strings.Repeat("a", 4000)), bytes.Repeat([]byte{0x80 | 62}, 10_000)...)
		h.open(1, append(head, bomb...))
		h.body(1, true, tiny)
	}, "431"},
	{"a push", func(h *h2, head []byte) {
		h.raw(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, 1, append([]byte{0, 0, 0, 2}, head...))
	}, "refused"},
	{"an unknown frame", func(h *h2, head []byte) { h.raw(0xfa, 0xff, 1, []byte("evil")); h.all(1, head) }, "200"},
	{"too large a frame", func(h *h2, head []byte) { h.open(1, head); h.body(1, true, strings.Repeat("a", 2<<20)) }, "refused"},
	{"a window that does not grow", func(h *h2, head []byte) { h.try(h.WriteWindowUpdate(0, 0)); h.all(1, head) }, "refused"},
	{"too large a window", func(h *h2, head []byte) { h.try(h.WriteWindowUpdate(0, 1<<31-1)); h.all(1, head) }, "refused"},
	{"too large a window for a stream", func(h *h2, head []byte) { h.open(1, head); h.try(h.WriteWindowUpdate(1, 1<<31-1)) }, "refused"},
	{"a window for nothing", func(h *h2, head []byte) { h.try(h.WriteWindowUpdate(1, 1)); h.all(1, head) }, "refused"},
	{"a ping that is too short", func(h *h2, head []byte) { h.raw(http2.FramePing, 0, 0, []byte("1234567")); h.all(1, head) }, "refused"},
	{"a ping on a stream", func(h *h2, head []byte) { h.raw(http2.FramePing, 0, 1, []byte("12345678")); h.all(1, head) }, "refused"},
	{"settings on a stream", func(h *h2, head []byte) { h.raw(http2.FrameSettings, 0, 1, nil); h.all(1, head) }, "refused"},
	{"settings with a bad push", func(h *h2, head []byte) { h.set(http2.SettingEnablePush, 2); h.all(1, head) }, "refused"},
	{"settings with too large a window", func(h *h2, head []byte) { h.set(http2.SettingInitialWindowSize, 1<<31); h.all(1, head) }, "refused"},
	{"settings with too small a frame", func(h *h2, head []byte) { h.set(http2.SettingMaxFrameSize, 1); h.all(1, head) }, "refused"},
	{"settings that nobody knows", func(h *h2, head []byte) { h.set(0xfafa, 1); h.all(1, head) }, "200"},
	{"settings that are answered twice", func(h *h2, head []byte) {
		for range 3 {
			h.try(h.WriteSettingsAck())
		}
		h.all(1, head)
	}, "refused"},
}

func (h *h2) raw(kind http2.FrameType, flags http2.Flags, stream uint32, payload []byte) {
	h.t.Helper()
	h.try(h.WriteRawFrame(kind, flags, stream, payload))
}

func (h *h2) set(id http2.SettingID, value uint32) {
	h.raw(http2.FrameSettings, 0, 0, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, uint16(id)), value))
}

// open sends a head, and all a whole request.
func (h *h2) open(stream uint32, head []byte) {
	h.raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, stream, head)
}

func (h *h2) all(stream uint32, head []byte) { h.open(stream, head); h.body(stream, true, tiny) }

// TestUnusualFrames: Ollama gets the request once and unchanged, or not at all.
func TestUnusualFrames(t *testing.T) {
	t.Parallel()
	// After some of them net/http leaves the client a second to read why.
	const groups = 8
	for group := range groups {
		t.Run(fmt.Sprint(group), func(t *testing.T) {
			t.Parallel()
			s, tap := startSecure(t, handlertest.Config{})
			for i := group; i < len(frames); i += groups {
				f := frames[i]
				h := dialH2(s, t)
				f.send(h, h.encode(request2{}.fields(s.Key)...))
				ends := h.end(1)
				if f.ends != "*" && ends != f.ends {
					t.Errorf("%s: %q, not %q", f.name, ends, f.ends)
				}
				h.conn.Close()
				s.Spy.Idle(t)
				arrived := tap.take(t, s.Upstream)
				if len(arrived) > 1 || ends == "200" && len(arrived) == 0 {
					t.Errorf("%s: sent on %v", f.name, arrived)
				}
				for _, a := range arrived {
					if a.String() != shown {
						t.Errorf("%s: sent on %v", f.name, a)
					}
				}
			}
		})
	}
}
