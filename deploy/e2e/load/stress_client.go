//go:build unix

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"time"
)

// An outcome is what a client has got: a complete answer, if err is nil.
type outcome struct {
	status int // 0: none came
	err    error
}

// A leaving is the moment at which a client leaves.
type leaving int

const (
	stays         leaving = iota
	leavesAsking          // with its request sent in part
	leavesWaiting         // before an answer comes
	leavesReading         // with the answer read in part
)

func (l leaving) String() string {
	return [...]string{"stays", "leaves while it asks", "leaves while it waits", "leaves while it reads"}[l]
}

// stressing returns the n-th request. Its number determines what both sides do with it, so
// that both can recognise a failure.
func stressing(n uint64) ask {
	q := ask{Path: chatRoute, N: n, Events: 1 + int(hash(n, 11)%12), Size: 150}
	if hash(n, 12)%2 == 0 {
		q.Path = leaveRoute
	}
	switch hash(n, 13) % 32 {
	case 0:
		q.Pad = 100_000
	case 1:
		q.Pad = 20_000
	case 2:
		q.Size = 8000
	}
	return q
}

func (q ask) leaving() leaving {
	if left := leaving(hash(q.N, 14) % 16); left <= leavesReading {
		return left
	}
	return stays
}

// undergo sends the request and reads the answer in the way that its number determines.
func (c *caller) undergo(q ask) (o outcome) {
	defer func() {
		if o.err != nil {
			if tcp, ok := c.conn.(*net.TCPConn); ok && hash(q.N, 15)%2 == 0 {
				tcp.SetLinger(0) // a reset
			}
			c.hangUp()
		}
	}()
	if err := c.dial(); err != nil {
		return outcome{err: err}
	}
	text := q.request(c.key)
	if q.leaving() == leavesAsking {
		text = text[:1+hash(q.N, 16)%uint64(len(text)-1)]
	}
	if err := inPieces(c.conn, text, q.N); err != nil {
		return outcome{err: fmt.Errorf("sending: %w", err)}
	}
	switch q.leaving() {
	case leavesAsking:
		return outcome{err: errLeft}
	case leavesWaiting:
		time.Sleep(time.Duration(hash(q.N, 17)%1000) * time.Microsecond)
		return outcome{err: errLeft}
	}
	status, body, err := c.answer()
	if err != nil {
		return outcome{err: err}
	}
	if status != http.StatusOK {
		text, _ := io.ReadAll(body)
		return outcome{status, fmt.Errorf("status %d: %s", status, text)}
	}
	leave := 0
	if q.leaving() == leavesReading {
		leave = 1 + int(hash(q.N, 18)%uint64(q.Events))
	}
	_, err = c.check(q, leave, time.Now(), body)
	return outcome{status, err}
}

// inPieces writes a text: half of all texts at once, the others in up to five pieces, with
// or without pauses.
func inPieces(w io.Writer, text []byte, n uint64) error {
	for i := uint64(0); hash(n, 20)%2 == 0 && i < 4 && len(text) > 1; i++ {
		cut := 1 + hash(n, 21+i)%uint64(len(text)-1)
		if hash(n, 31+i)%2 == 0 {
			cut = min(cut, 1+hash(n, 41+i)%200) // within the head
		}
		if _, err := w.Write(text[:cut]); err != nil {
			return err
		}
		text = text[cut:]
		switch hash(n, 51+i) % 4 {
		case 0:
			time.Sleep(time.Duration(hash(n, 61+i)%1500) * time.Microsecond)
		case 1:
			runtime.Gosched()
		}
	}
	_, err := w.Write(text)
	return err
}
