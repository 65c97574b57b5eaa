//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// A mood is what Ollama does with the connection on which it answers.
type mood int

const (
	keeps     mood = iota // as an Ollama does
	announces             // closes it after the answer, with Connection: close
	closes                // closes it after the answer, without announcing it
	resets                // the same, with a reset
	breaksOff             // closes it within the answer
	isMute                // closes it without an answer
)

func (m mood) String() string {
	return [...]string{"Ollama keeps the connection", "Ollama closes it and says so", "Ollama closes it without a word", "Ollama resets it", "Ollama breaks off", "Ollama gives no answer"}[m]
}

// breaks reports whether the answer cannot be complete.
func (m mood) breaks() bool { return m >= breaksOff }

// mood returns what Ollama does when it gets the request.
func (q ask) mood() mood {
	if m := mood(hash(q.N, 70) % 48); m <= isMute {
		return m
	}
	return keeps
}

// startMoody starts an Ollama in this process, and returns its address.
func startMoody() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	kit.Must(err, "listening")
	go func() {
		for {
			c, err := l.Accept()
			kit.Must(err, "accepting")
			go beMoody(c.(*net.TCPConn))
		}
	}()
	return l.Addr().String()
}

func beMoody(c *net.TCPConn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // its client has left
		}
		if r.Method == http.MethodGet {
			const models = `{"models":[{"name":"tiny:latest","model":"tiny:latest"}]}`
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(models), models)
			continue
		}
		q := ask{Path: r.URL.Path}
		if json.Unmarshal(body, &q) != nil || !bytes.Equal(body, q.body()) {
			kit.Fatal("a request arrived that nobody has sent: %.300q", body)
		}
		text := q.wire()
		switch q.mood() {
		case breaksOff:
			// The last chunk is missing at least, or the last byte.
			text = text[:1+hash(q.N, 71)%uint64(len(text)-5)]
		case isMute:
			return
		}
		if err := inPieces(c, text, hash(q.N, 72)); err != nil {
			return
		}
		switch q.mood() {
		case keeps:
			continue
		case resets:
			if arrived(c) {
				c.SetLinger(0)
			}
		}
		return
	}
}

// arrived waits until the peer's kernel has acknowledged all that was written: a reset
// discards what has not been sent, for example because the peer's window is full. It reports
// false if that takes more than a second.
func arrived(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	kit.Must(err, "a connection")
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		unsent := 0
		if raw.Control(func(fd uintptr) { unsent, err = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) }) != nil || err != nil {
			return false
		}
		if unsent == 0 {
			return true
		}
	}
	return false
}

// wire returns the bytes of the answer, with a Content-Length, or with a chunk for each
// event.
func (q ask) wire() []byte {
	kind := "text/event-stream"
	if q.Path == leaveRoute {
		kind = "application/x-ndjson"
	}
	var all, event []byte
	inChunks := hash(q.N, 73)%4 > 0
	for i := range q.Events + 1 {
		event = q.event(event[:0], i)
		if inChunks {
			all = fmt.Appendf(all, "%x\r\n%s\r\n", len(event), event)
		} else {
			all = append(all, event...)
		}
	}
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: %s\r\n", kind)
	if q.mood() == announces {
		head += "Connection: close\r\n"
	}
	if inChunks {
		head += "Transfer-Encoding: chunked\r\n\r\n"
		all = append(all, "0\r\n\r\n"...)
	} else {
		head += fmt.Sprintf("Content-Length: %d\r\n\r\n", len(all))
	}
	return append([]byte(head), all...)
}
