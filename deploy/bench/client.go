//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
)

var numbers atomic.Int64

// nextNumber is the number of a new request.
func nextNumber() int { return int(numbers.Add(1) % 1e8) }

// client asks questions of one kind over one connection, and checks the
// answers to the last byte.
type client struct {
	*conn
	ask     string
	request message
	padding []byte // the part of the request that pads it; empty in most
	answer  message
}

// newClient makes a client that sends the key, unless it is empty.
func newClient(ask, key string) *client {
	stream := ask == askFull || ask == askPaced
	begin, middle, end := question(ask, stream)
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: ollama.example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nContent-Type: application/json\r\n"
	if key != "" {
		head += "Authorization: Bearer " + key + "\r\n"
	}
	head += fmt.Sprintf("Content-Length: %d\r\n\r\n", len(begin.text)+middle+len(end))
	head += string(begin.text)
	c := &client{ask: ask, request: newMessage(head + strings.Repeat(" ", middle) + string(end)), answer: answer.clone()}
	c.padding = c.request.text[len(head) : len(head)+middle]
	size := 4 << 10
	if ask == askFull {
		size = 64 << 10
	}
	c.conn = newConn(nil, size)
	return c
}

// dial connects anew, for as long as the target lives and the crew works.
func (c *client) dial(t *target, crew *crew) error {
	_, port, err := net.SplitHostPort(t.address)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	c.close()
	c.r, c.w = 0, 0
	c.socket, err = t.poller.dial(n, t.lifetime(), crew.failed)
	return err
}

func (c *client) close() {
	if c.socket != nil {
		c.socket.Close()
	}
}

// send sends the request with that number.
func (c *client) send(number int) error {
	copy(c.padding, paddingOf(number, len(c.padding)))
	_, err := c.Write(c.request.about(number))
	return err
}

// errRefused is the answer to a request whose key is not good.
var errRefused = errors.New("the key is refused")

// accepted takes the head of an answer.
func (c *client) accepted() (head, error) {
	h, err := c.head()
	if err != nil {
		return h, fmt.Errorf("no answer: %w", err)
	}
	switch h.status {
	case 200:
		return h, nil
	case 401, 403:
		return h, errRefused
	}
	return h, fmt.Errorf("the answer %q", h.first)
}

// answered reads the whole answer to a request. A stream's bytes are also
// counted as they pass.
func (c *client) answered(number int, count *atomic.Int64) error {
	h, err := c.accepted()
	if err != nil {
		return err
	}
	if c.ask == askFull {
		pos := int64(0)
		err := c.body(h, func(piece []byte) error {
			err := checkStream(number, pos, fullEvents, piece)
			pos += int64(len(piece))
			count.Add(int64(len(piece)))
			return err
		})
		if err == nil && pos != streamLen(fullEvents) {
			return fmt.Errorf("a stream that ends after %d bytes of %d", pos, streamLen(fullEvents))
		}
		return err
	}
	want := c.answer.about(number)
	err = c.body(h, func(piece []byte) error {
		if !bytes.HasPrefix(want, piece) {
			return errors.New("an answer came through changed, or is another's")
		}
		want = want[len(piece):]
		return nil
	})
	if err != nil {
		return err
	}
	if len(want) > 0 {
		return fmt.Errorf("an answer that lacks its last %d bytes", len(want))
	}
	count.Add(1)
	return nil
}

// follow reads the stream that comes from a feed.
func (c *client) follow(f *feed) error {
	h, err := c.accepted()
	if err != nil {
		return err
	}
	if err := c.body(h, f.take); err != nil {
		return err
	}
	if !f.complete() {
		return fmt.Errorf("a stream that ends after %d bytes of %d", f.arrived, streamLen(f.sent.Load()))
	}
	return nil
}
