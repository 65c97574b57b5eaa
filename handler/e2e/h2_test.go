package e2e_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/ollama-proxy/ollama-proxy/handler/certs"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// h2 is a client's connection of HTTP/2 that sends whatever frames a test likes.
type h2 struct {
	*http2.Framer
	t       *testing.T
	conn    *tls.Conn
	block   bytes.Buffer
	encoder *hpack.Encoder
}

// startSecure starts a site with TLS, and a tap.
func startSecure(t *testing.T, c handlertest.Config) (*handlertest.Site, *tap) {
	t.Helper()
	c.Certificates = loadCertificate(t)
	return startTapped(t, c)
}

func loadCertificate(t *testing.T) *certs.Certificate {
	t.Helper()
	certificate, err := certs.LoadCertificate(issue(t, t.TempDir(), 1))
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func dialH2(s *handlertest.Site, t *testing.T) *h2 {
	t.Helper()
	c, err := tls.Dial("tcp", s.Public, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(handlertest.Timeout))
	h := newH2(t, c)
	h.conn = c
	return h
}

// newH2 begins HTTP/2 on a connection.
func newH2(t *testing.T, c net.Conn) *h2 {
	t.Helper()
	h := &h2{Framer: http2.NewFramer(c, c), t: t}
	h.AllowIllegalWrites = true
	h.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.encoder = hpack.NewEncoder(&h.block)
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	h.try(h.WriteSettings())
	return h
}

// try lets a write fail only because the server has ended the connection.
func (h *h2) try(err error) {
	h.t.Helper()
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		h.t.Fatal(err)
	}
}

// encode gives a block of headers, written like "name: value".
func (h *h2) encode(lines ...string) []byte {
	h.block.Reset()
	for _, line := range lines {
		colon := strings.Index(line[1:], ": ") + 1
		h.encoder.WriteField(hpack.HeaderField{Name: line[:colon], Value: line[colon+2:]})
	}
	return bytes.Clone(h.block.Bytes())
}

// head sends a head, or a trailer.
func (h *h2) head(stream uint32, end bool, lines ...string) {
	h.t.Helper()
	h.try(h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: h.encode(lines...), EndStream: end, EndHeaders: true}))
}

func (h *h2) body(stream uint32, end bool, data string) {
	h.t.Helper()
	h.try(h.WriteData(stream, end, []byte(data)))
}

// end reads until the stream has ended, and tells how: with a status, or refused,
// it or the whole connection. Which of the two may be a matter of luck.
func (h *h2) end(stream uint32) (status string) {
	h.t.Helper()
	for {
		f, err := h.ReadFrame()
		var late net.Error
		switch {
		case errors.As(err, &late) && late.Timeout():
			h.t.Errorf("after %q: %v", status, err)
			return "late"
		case err != nil:
			return "refused"
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				h.try(h.WriteSettingsAck())
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return "refused"
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				return "refused"
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID == stream {
				status = f.PseudoValue("status")
			}
		}
		ends := f.Header().Flags.Has(http2.FlagDataEndStream) && f.Header().StreamID == stream
		if _, data := f.(*http2.DataFrame); ends && (data || status != "") {
			return status
		}
	}
}

// request2 is a request over HTTP/2: POST /api/show of tiny, but for its lines.
type request2 struct {
	name    string
	lines   []string
	body    string
	trailer []string

	// How it ends, see h2.end, and what Ollama sees. Which of several is a matter
	// of time: whether the body is there already when the head is looked at.
	ends, arrives string
}

// fields are its headers. A pseudo-header takes the ordinary one's place, or,
// without a value, just takes that away; the next of the same name stands beside it.
func (r request2) fields(key string) []string {
	fields := []string{":method: POST", ":scheme: https", ":authority: x", ":path: /api/show"}
	var regular []string
	var replaced [4]bool
	for _, line := range r.lines {
		name := line[:strings.Index(line[1:], ":")+2]
		i := slices.IndexFunc(fields, func(f string) bool { return strings.HasPrefix(f, name) })
		if i >= 0 && !replaced[i] {
			fields[i], replaced[i] = line, true
		} else if i >= 0 {
			fields = append(fields, line)
		} else {
			regular = append(regular, line)
		}
	}
	fields = append(append(fields, "authorization: Bearer "+key), regular...)
	return slices.DeleteFunc(fields, func(f string) bool { return strings.HasSuffix(f, ":") })
}

// TestNoRequestIsSmuggledOverHTTP2: what HTTP/2 can express and HTTP/1.1 cannot is
// refused, or left out of the request to Ollama.
func TestNoRequestIsSmuggledOverHTTP2(t *testing.T) {
	t.Parallel()
	s, tap := startSecure(t, handlertest.Config{})
	for _, r := range requests2 {
		for _, key := range []string{s.Key, "OLLAMA-" + s.Admin[13:]} {
			t.Run(r.name, func(t *testing.T) {
				h := dialH2(s, t)
				defer h.conn.Close()
				h.head(1, r.body == "" && r.trailer == nil, r.fields(key)...)
				if r.body != "" {
					h.body(1, r.trailer == nil, r.body)
				}
				if r.trailer != nil {
					h.head(1, true, r.trailer...)
				}
				ends := h.end(1)
				h.conn.Close()
				s.Spy.Idle(t)
				var arrives []string
				for _, sent := range tap.take(t, s.Upstream) {
					arrives = append(arrives, sent.String())
				}
				got := strings.Join(arrives, ", ")
				if key != s.Key && (got != "" || ends < "400") {
					t.Errorf("without a key: %q, and sent on %q", ends, got)
				}
				if key == s.Key && !(slices.Contains(strings.Split(r.ends, "|"), ends) && slices.Contains(strings.Split(r.arrives, "|"), got)) {
					t.Errorf("%q, not %q; sent on %q, not %q", ends, r.ends, got, r.arrives)
				}
			})
		}
	}
}

// TestHTTP2WithoutTLS: it is not supported, neither at once nor by an upgrade: the bytes
// are read as HTTP/1.1, and the connection ends.
func TestHTTP2WithoutTLS(t *testing.T) {
	t.Parallel()
	s, tap := startTapped(t, handlertest.Config{})
	for name, first := range map[string]string{
		"at once":    "",
		"an upgrade": handlertest.Head("GET", "/api/version", handlertest.Bearer(s.Key), "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk") + "\r\n",
	} {
		w := s.Dial(t)
		w.Writef("%s", first)
		if first != "" {
			if got := w.Answer("GET"); got.Status != 200 || got.Header.Get("Upgrade") != "" {
				t.Errorf("%s: %s %v", name, got, got.Header)
			}
		}
		h := newH2(t, w)
		h.all(1, h.encode(request2{lines: []string{":path: /api/pull"}}.fields(s.Admin)...))
		if got := w.Answer("POST"); got.Status != 401 || got.Err != nil {
			t.Errorf("%s: %s", name, got)
		}
		w.CloseWrite()
		w.ReadToEnd()
		s.Spy.Idle(t)
		for _, sent := range tap.take(t, s.Upstream) {
			if sent.target != "/api/version" {
				t.Errorf("%s: sent on %v", name, sent)
			}
		}
	}
}
