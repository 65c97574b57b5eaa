//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
)

// upstream stands in for Ollama. It reads every byte of every question, and
// answers as the script says.
type upstream struct {
	address string
	feeds   sync.Map              // *feed by number
	failed  atomic.Pointer[error] // the first since the run began
}

func startUpstream(p *poller) (*upstream, error) {
	l, address, err := p.listen()
	if err != nil {
		return nil, err
	}
	u := &upstream{address: address}
	go func() {
		for {
			s, err := l.accept()
			if err != nil {
				u.fail(fmt.Errorf("accepting: %w", err))
				return
			}
			go func() {
				defer s.Close()
				if err := u.serve(newConn(s, 4<<10)); err != nil {
					u.fail(err)
				}
			}()
		}
	}()
	return u, nil
}

func (u *upstream) fail(err error) { u.failed.CompareAndSwap(nil, &err) }

// forget begins a new run.
func (u *upstream) forget() { u.failed.Store(nil) }

// error is what went wrong first since the run began.
func (u *upstream) error() error {
	if err := u.failed.Load(); err != nil {
		return fmt.Errorf("upstream: %w", *err)
	}
	return nil
}

const answerHead = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "

var (
	models     = `{"models":[{"name":"small:latest"},{"name":"large:latest"},{"name":"full:latest"},{"name":"paced:latest"}]}`
	streamHead = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
)

// serve serves one connection, until the proxy closes it.
func (u *upstream) serve(c *conn) error {
	small := newMessage(answerHead + strconv.Itoa(len(answer.text)) + "\r\n\r\n" + string(answer.text))
	for {
		h, err := c.head()
		if err != nil {
			return nil // between two requests anyone may close
		}
		if bytes.HasPrefix(h.first, []byte("GET /api/tags ")) || bytes.HasPrefix(h.first, []byte("GET /api/ps ")) {
			if _, err := fmt.Fprintf(c, "%s%d\r\n\r\n%s", answerHead, len(models), models); err != nil {
				return nil
			}
			continue
		}
		ask, number, err := c.readQuestion(h)
		if err != nil {
			fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			return err
		}
		switch ask {
		case askFull:
			err = c.speakFull(number)
		case askPaced:
			f, ok := u.feeds.Load(number)
			if !ok {
				return fmt.Errorf("nobody asks question %d", number)
			}
			err = f.(*feed).serve(c)
		default:
			_, err = c.Write(small.about(number))
		}
		if err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
}

// readQuestion reads a request's body, and makes sure that it is what the
// script says.
func (c *conn) readQuestion(h head) (ask string, number int, err error) {
	if !bytes.HasPrefix(h.first, []byte("POST /v1/chat/completions ")) || h.length < 0 {
		return "", 0, fmt.Errorf("a request %q, whose body has length %d", h.first, h.length)
	}
	const enough = 200 // of a question to know which it is
	for c.w-c.r < int(min(h.length, enough)) {
		if err := c.fill(); err != nil {
			return "", 0, fmt.Errorf("reading a question: %w", err)
		}
	}
	start := c.buf[c.r:c.w]
	for _, q := range questions {
		numberAt := q.begin.places[0]
		if !bytes.HasPrefix(start, q.begin.text[:numberAt]) || len(start) < len(q.begin.text) {
			continue
		}
		number, err = strconv.Atoi(string(start[numberAt : numberAt+digits]))
		if err != nil || int(h.length) != len(q.begin.text)+q.middle+len(q.end) {
			break
		}
		return q.ask, number, q.check(c, number)
	}
	return "", 0, errors.New("a question that is not in the script")
}

// asked is a question as the upstream expects it.
type asked struct {
	ask    string
	begin  message
	middle int
	end    []byte
}

var questions = func() (all []asked) {
	for _, ask := range []string{askSmall, askPaced, askFull, askLarge} {
		begin, middle, end := question(ask, ask == askPaced || ask == askFull)
		all = append(all, asked{ask, begin, middle, end})
	}
	return all
}()

var errQuestion = errors.New("a question came through changed")

// check takes the question off the connection and compares it.
func (q asked) check(c *conn, number int) error {
	after := q.begin.places[0] + digits
	same := func(want []byte) func([]byte) error {
		return func(piece []byte) error {
			if !bytes.Equal(piece, want[:len(piece)]) {
				return errQuestion
			}
			want = want[len(piece):]
			return nil
		}
	}
	c.r += after
	if err := c.bytes(int64(len(q.begin.text)-after), same(q.begin.text[after:])); err != nil {
		return err
	}
	if q.middle > 0 {
		if len(c.buf) < 64<<10 {
			c.buf = append(make([]byte, 0, 64<<10), c.buf...)[:64<<10]
		}
		if err := c.bytes(int64(q.middle), same(paddingOf(number, q.middle))); err != nil {
			return err
		}
	}
	return c.bytes(int64(len(q.end)), same(q.end))
}

// speakFull sends a stream as fast as the proxy takes it: several events a
// write, as from a model that is quicker than the connection.
func (c *conn) speakFull(number int) error {
	const block = 64
	if _, err := c.Write(streamHead); err != nil {
		return err
	}
	for at, left := firstEvent(number), fullEvents; left > 0; {
		n := min(block, left)
		if _, err := c.Write(wire[at*chunkLen : (at+n)*chunkLen]); err != nil {
			return err
		}
		at, left = (at+n)%eventCount, left-n
	}
	_, err := c.Write(wireEnding)
	return err
}
