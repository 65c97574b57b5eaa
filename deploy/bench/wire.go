//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// conn is one end of an HTTP/1.1 connection, read by hand: the load must cost
// less than the fastest of the proxies, and sees each piece as it arrives.
type conn struct {
	*socket
	buf  []byte
	r, w int // buf[r:w] is read and not yet taken
}

func newConn(s *socket, size int) *conn { return &conn{socket: s, buf: make([]byte, size)} }

var errTooLong = errors.New("a line or a head that is too long")

// fill reads what there is, at least a byte. What was taken before may be
// overwritten.
func (c *conn) fill() error {
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.buf) {
		return errTooLong
	}
	n, err := c.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

// until takes everything up to the mark, and the mark.
func (c *conn) until(mark string) ([]byte, error) {
	for {
		if i := bytes.Index(c.buf[c.r:c.w], []byte(mark)); i >= 0 {
			taken := c.buf[c.r : c.r+i]
			c.r += i + len(mark)
			return taken, nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// bytes hands n bytes on, in the pieces in which they arrive.
func (c *conn) bytes(n int64, take func([]byte) error) error {
	for n > 0 {
		if c.r == c.w {
			if err := c.fill(); err != nil {
				return err
			}
		}
		piece := c.buf[c.r : c.r+int(min(n, int64(c.w-c.r)))]
		c.r += len(piece)
		n -= int64(len(piece))
		if err := take(piece); err != nil {
			return err
		}
	}
	return nil
}

// head is what matters of a request's or an answer's head.
type head struct {
	first   []byte // its first line
	status  int    // of an answer
	length  int64  // -1: none is given
	chunked bool
}

// head takes a head. It is good until the next read.
func (c *conn) head() (head, error) {
	text, err := c.until("\r\n\r\n")
	if err != nil {
		return head{}, err
	}
	h := head{length: -1}
	h.first, text, _ = bytes.Cut(text, []byte("\r\n"))
	if len(h.first) >= 12 && bytes.HasPrefix(h.first, []byte("HTTP/1.1 ")) {
		h.status, _ = strconv.Atoi(string(h.first[9:12]))
	}
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch len(name) {
		case len("Content-Length"):
			if bytes.EqualFold(name, []byte("Content-Length")) {
				if h.length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
					return head{}, err
				}
			}
		case len("Transfer-Encoding"):
			if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
				h.chunked = bytes.Equal(bytes.TrimSpace(value), []byte("chunked"))
			}
		}
	}
	return h, nil
}

// body hands a body on, in the pieces in which it arrives.
func (c *conn) body(h head, take func([]byte) error) error {
	if !h.chunked {
		if h.length < 0 {
			return errors.New("a body without length")
		}
		return c.bytes(h.length, take)
	}
	for {
		line, err := c.until("\r\n")
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(line), 16, 64)
		if err != nil {
			return fmt.Errorf("a chunk whose size is %q", line)
		}
		if err := c.bytes(size, take); err != nil {
			return err
		}
		if line, err = c.until("\r\n"); err != nil {
			return err
		}
		if len(line) != 0 {
			return fmt.Errorf("a chunk that goes on with %q", line)
		}
		if size == 0 {
			return nil
		}
	}
}
