//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// holders are attacks without a valid key that make the proxy hold as much memory as
// possible with as little traffic as possible. Those without TLS need a proxy without TLS.
var holders = []attacker{
	{name: "tiny headers", conns: 8_000, rate: many, run: tinyHeaders, statuses: []int{0, 401, 408, 431}},
	{name: "endless tiny headers", conns: 8_000, rate: many, run: endlessHeaders, statuses: []int{0, 401, 408, 431}},
	{name: "shut windows", secure: true, conns: 160, rate: many, run: shutWindows, statuses: []int{0}},
	{name: "shut windows and 431", secure: true, conns: 160, rate: many, run: shutTooLong, statuses: []int{0}},
	{name: "unfinished blocks", secure: true, conns: 2_000, rate: many, run: unfinishedBlocks, statuses: []int{0}},
	{name: "unread bodies", secure: true, conns: 160, rate: many, run: unreadBodies, statuses: []int{0}},
	{name: "unread pings", secure: true, conns: 160, rate: many, run: unreadPings, statuses: []int{0}},
	{name: "handshakes", secure: true, conns: 6_000, rate: many, run: unfinishedHandshake, statuses: []int{0}},
	{name: "idle after a handshake", secure: true, conns: 6_000, rate: many, run: idleSecure, statuses: []int{0}},
	{name: "tiny headers over TLS", secure: true, conns: 2_000, rate: many, run: tinySecure, statuses: []int{0, 401, 408, 431}},
}

// tinyFields returns a head of 62 KiB with as many headers as possible.
var tinyFields = func() string {
	var b strings.Builder
	for i := 0; b.Len() < 62<<10; i++ {
		const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
		b.Write([]byte{letters[i%36], letters[i/36%36], letters[i/1296%36], ':', '\r', '\n'})
	}
	return b.String()
}()

func tinyHeaders(c *attackConn) error {
	line.WaitN(c.over, len(tinyFields))
	if err := c.say("POST %s HTTP/1.1\r\nHost: proxy\r\nContent-Length: 100\r\n%s\r\n", chatRoute, tinyFields); err != nil {
		c.ready()
		return err
	}
	return c.wait()
}

func endlessHeaders(c *attackConn) error {
	line.WaitN(c.over, len(tinyFields))
	if err := c.say("POST %s HTTP/1.1\r\nHost: proxy\r\n%s", chatRoute, tinyFields); err != nil {
		c.ready()
		return err
	}
	return c.wait()
}

// secured starts TLS on the connection.
func (c *attackConn) secured(protocol string) (*tls.Conn, error) {
	t := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}, CurvePreferences: []tls.CurveID{tls.X25519}})
	t.SetDeadline(time.Now().Add(kit.Timeout))
	err := t.HandshakeContext(c.over)
	t.SetDeadline(time.Time{})
	return t, err
}

// frames starts HTTP/2 with a closed window.
func (c *attackConn) frames() (*tls.Conn, *http2.Framer, error) {
	t, err := c.secured("h2")
	if err != nil {
		c.ready()
		return nil, nil, err
	}
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&b, nil)
	f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	_, err = t.Write(b.Bytes())
	return t, http2.NewFramer(t, t), err
}

// block returns a block of headers of HTTP/2 with the given number of fields, each one byte.
func block(fields int) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "proxy"}, {":path", chatRoute}} {
		e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: f[0][1] == 'a' || f[0][1] == 'p'})
	}
	for range fields {
		b.WriteByte(0x80 | 60) // via
	}
	return b.Bytes()
}

// streams opens as many streams as are allowed, and waits.
func (c *attackConn) streams(fields, many int, more func(f *http2.Framer, stream uint32)) error {
	t, f, err := c.frames()
	if err != nil {
		c.ready()
		return err
	}
	head := block(fields)
	var b bytes.Buffer
	w := http2.NewFramer(&b, nil)
	for i := range many {
		stream := uint32(2*i + 1)
		w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head, EndHeaders: true, EndStream: more == nil})
		if more != nil {
			more(w, stream)
		}
	}
	line.WaitN(c.over, min(b.Len(), 1<<20))
	if _, err := t.Write(b.Bytes()); err != nil {
		c.ready()
		return err
	}
	c.ready()
	for {
		if _, err := f.ReadFrame(); err != nil {
			return err
		}
	}
}

func shutWindows(c *attackConn) error { return c.streams(1_780, 250, nil) }
func shutTooLong(c *attackConn) error { return c.streams(2_500, 250, nil) }
func unreadBodies(c *attackConn) error {
	data := make([]byte, 4<<10)
	return c.streams(1_000, 250, func(f *http2.Framer, stream uint32) { f.WriteData(stream, false, data) })
}

func unfinishedBlocks(c *attackConn) error {
	t, f, err := c.frames()
	if err != nil {
		return err
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(1_800)}); err != nil {
		c.ready()
		return err
	}
	c.ready()
	go io.Copy(io.Discard, t)
	for {
		if err := f.WriteContinuation(1, false, nil); err != nil {
			return err
		}
		select {
		case <-c.over.Done():
			return io.EOF
		case <-time.After(time.Second):
		}
	}
}

func unreadPings(c *attackConn) error {
	c.Conn.(*net.TCPConn).SetReadBuffer(1 << 10)
	t, f, err := c.frames()
	if err != nil {
		return err
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(0), EndHeaders: true, EndStream: true})
	var b bytes.Buffer
	w := http2.NewFramer(&b, nil)
	for range 1_000 {
		w.WritePing(false, [8]byte{})
	}
	ready := time.AfterFunc(2*time.Second, c.ready)
	defer ready.Stop()
	for {
		line.WaitN(c.over, b.Len())
		if _, err := t.Write(b.Bytes()); err != nil {
			c.ready()
			return err
		}
	}
}

func unfinishedHandshake(c *attackConn) error {
	hello := &firstFlight{Conn: c.Conn}
	tls.Client(hello, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}).HandshakeContext(context.Background())
	return c.wait()
}

// firstFlight passes on the first write only, and reads nothing.
type firstFlight struct{ net.Conn }

func (f *firstFlight) Read([]byte) (int, error) { return 0, io.EOF }
func (f *firstFlight) Close() error             { return nil }
func (f *firstFlight) Write(p []byte) (int, error) {
	if p[0] != 22 {
		return len(p), nil // an alert
	}
	return f.Conn.Write(p)
}

func idleSecure(c *attackConn) error {
	t, err := c.secured("h2")
	if err != nil {
		c.ready()
		return err
	}
	c.ready()
	_, err = io.Copy(io.Discard, t)
	return err
}

func tinySecure(c *attackConn) error {
	t, err := c.secured("http/1.1")
	if err != nil {
		c.ready()
		return err
	}
	line.WaitN(c.over, len(tinyFields))
	if _, err := io.WriteString(t, "POST "+chatRoute+" HTTP/1.1\r\nHost: proxy\r\nContent-Length: 100\r\n"+tinyFields+"\r\n"); err != nil {
		c.ready()
		return err
	}
	c.ready()
	_, err = io.Copy(io.Discard, t)
	if err == nil {
		err = io.EOF
	}
	return err
}
