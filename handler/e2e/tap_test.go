package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// tap keeps every byte that a proxy writes to Ollama, so that a test sees what
// was really sent, and not what some HTTP server made of it.
type tap struct {
	mu     sync.Mutex
	wires  []*tapped
	writes int // so far, on all of them
}

// tapped is one connection of the proxy's to Ollama.
type tapped struct {
	net.Conn
	tap    *tap
	sent   []byte // and not yet taken
	begins []begin
	closed bool
}

// begin is where in sent a write begins, and its place among all writes.
type begin struct{ at, write int }

// startTapped starts a site with a tap.
func startTapped(t *testing.T, c handlertest.Config) (*handlertest.Site, *tap) {
	t.Helper()
	p := &tap{}
	c.Proxy = func(o *handler.Options) {
		o.Transport = transport.NewWithDial(func(ctx context.Context) (net.Conn, error) {
			return p.dial(ctx, o.Upstream.Host)
		})
	}
	return handlertest.Start(t, c), p
}

func (p *tap) dial(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	w := &tapped{Conn: c, tap: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wires = append(p.wires, w)
	return w, nil
}

// SyscallConn lets the proxy look whether the connection is idle.
func (w *tapped) SyscallConn() (syscall.RawConn, error) {
	return w.Conn.(syscall.Conn).SyscallConn()
}

func (w *tapped) Write(b []byte) (int, error) {
	w.tap.mu.Lock()
	if w.closed {
		w.tap.mu.Unlock()
		return 0, net.ErrClosed
	}
	w.tap.writes++
	w.begins = append(w.begins, begin{len(w.sent), w.tap.writes})
	w.sent = append(w.sent, b...)
	w.tap.mu.Unlock()
	return w.Conn.Write(b)
}

func (w *tapped) Close() error {
	w.tap.mu.Lock()
	w.closed = true
	w.tap.mu.Unlock()
	return w.Conn.Close()
}

// sent is one request as it left the proxy.
type sent struct {
	method, target string
	header         []string // its lines, but Host and the framing
	body           string
	whole          bool // not cut off in the middle
	write          int  // the one with which it begins
}

func (s sent) String() string {
	text := s.method + " " + s.target
	if len(s.target) > 200 {
		text = fmt.Sprintf("%s %.20s… of %d bytes", s.method, s.target, len(s.target))
	}
	if len(s.body) > 200 {
		text += fmt.Sprintf(" %d bytes", len(s.body))
	} else if s.body != "" {
		text += " " + s.body
	}
	if !s.whole {
		text += "…"
	}
	return text
}

// take returns what has been sent since it was called last, in the order in which
// it was begun. It fails the test if that is anything but requests, well formed
// without the least doubt, and whole unless their connection was closed.
func (p *tap) take(t *testing.T, host string) (all []sent) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.wires {
		for at := 0; at < len(w.sent); {
			s, n, err := parseSent(w.sent[at:], host)
			if err == nil && n == 0 && !w.closed {
				err = errors.New("it stops in the middle")
			}
			if err != nil {
				t.Errorf("the proxy sent %.300q: %v", w.sent[at:], err)
			}
			for _, b := range w.begins {
				if b.at <= at {
					s.write = b.write
				}
			}
			if at += n; n == 0 {
				at = len(w.sent)
			}
			if !slices.Contains(s.header, "User-Agent: ollama-proxy") { // WatchUpstreams' own
				all = append(all, s)
			}
		}
		w.sent, w.begins = nil, nil
	}
	p.wires = slices.DeleteFunc(p.wires, func(w *tapped) bool { return w.closed })
	slices.SortFunc(all, func(a, b sent) int { return a.write - b.write })
	return all
}

// foreign are headers that must never reach Ollama: what is private to the
// client and the proxy, and what is about one connection.
var foreign = []string{
	"authorization", "x-api-key", "cookie", "origin", "expect", "forwarded", "x-real-ip",
	"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade", "http2-settings",
}

// parseSent reads one request as no two servers could read it differently, by
// no code of net/http's. n is how long it is, 0 if it is not complete.
func parseSent(b []byte, host string) (s sent, n int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return s, 0, nil
	}
	lines := strings.Split(string(b[:end]), "\r\n")
	rest := b[end+4:]
	words := strings.Split(lines[0], " ")
	if len(words) != 3 || words[2] != "HTTP/1.1" || !isToken(words[0]) || !strings.HasPrefix(words[1], "/") || strings.ContainsFunc(words[1], isControl) {
		return s, 0, fmt.Errorf("the line %q", lines[0])
	}
	s.method, s.target = words[0], words[1]
	length, chunked, hosts := -1, false, 0
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		lower := strings.ToLower(name)
		value = strings.TrimPrefix(value, " ")
		switch {
		case !ok || !isToken(name) || strings.ContainsFunc(strings.ReplaceAll(value, "\t", ""), isControl):
			return s, 0, fmt.Errorf("the header %q", line)
		case slices.Contains(foreign, lower) || strings.HasPrefix(lower, "x-forwarded-"):
			return s, 0, fmt.Errorf("the header %q is not Ollama's business", line)
		case lower == "host":
			if hosts++; hosts > 1 || value != host {
				return s, 0, fmt.Errorf("the host %q", value)
			}
		case lower == "content-length":
			number, err := strconv.Atoi(value)
			if err != nil || length >= 0 || strconv.Itoa(number) != value {
				return s, 0, fmt.Errorf("the length %q", value)
			}
			length = number
		case lower == "transfer-encoding":
			if chunked || value != "chunked" {
				return s, 0, fmt.Errorf("the coding %q", value)
			}
			chunked = true
		default:
			s.header = append(s.header, line)
		}
	}
	switch {
	case hosts != 1:
		return s, 0, fmt.Errorf("%d hosts", hosts)
	case chunked && length >= 0:
		return s, 0, fmt.Errorf("two framings")
	case chunked:
		body, k, err := parseChunks(rest)
		s.body, s.whole = body, k > 0
		if k == 0 {
			return s, 0, err
		}
		return s, end + 4 + k, nil
	}
	length = max(length, 0)
	s.body, s.whole = string(rest[:min(length, len(rest))]), len(rest) >= length
	if !s.whole {
		return s, 0, nil
	}
	return s, end + 4 + length, nil
}

// parseChunks reads a chunked body without extensions and trailers. n is how
// long it is, 0 if it is not complete.
func parseChunks(b []byte) (string, int, error) {
	var body strings.Builder
	for n := 0; ; {
		line, after, ok := bytes.Cut(b[n:], []byte("\r\n"))
		if !ok {
			return body.String(), 0, nil
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil || strings.Trim(string(line), "0123456789abcdefABCDEF") != "" {
			return "", 0, fmt.Errorf("the chunk %q", line)
		}
		if uint64(len(after)) < size+2 {
			body.Write(after)
			return body.String(), 0, nil
		}
		if string(after[size:size+2]) != "\r\n" {
			return "", 0, fmt.Errorf("a chunk that ends with %q", after[size:size+2])
		}
		body.Write(after[:size])
		n += len(line) + 2 + int(size) + 2
		if size == 0 {
			return body.String(), n, nil
		}
	}
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// isToken is RFC 9110's token.
func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
