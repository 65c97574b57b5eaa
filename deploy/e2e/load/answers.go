//go:build unix

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// An ask is a request. Its number determines every byte of it and of its answer.
type ask struct {
	Path   string `json:"-"`
	N      uint64 `json:"n"`
	Events int    `json:"events"` // 0: without end, and as fast as it goes
	Pause  int    `json:"pause"`  // milliseconds between two of them, half of it or one and a half
	Size   int    `json:"size"`   // of an event's text, on average
	Pad    int    `json:"pad"`    // bytes that make the request longer
}

const letters = 1 << 16

// text is the text of which all texts are parts.
var text = func() string {
	b := make([]byte, 2*letters)
	for i, x := 0, uint64(1); i < len(b); i++ {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = 'a' + byte(x>>59)%26
	}
	return string(b)
}()

// hash returns a pseudo-random number that depends on its arguments only.
func hash(a, b uint64) uint64 {
	x := a*0x9e3779b97f4a7c15 + b*0xbf58476d1ce4e5b9 + 0x94d049bb133111eb
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func cut(a, b uint64, size int) string {
	h := hash(a, b)
	from := int(h>>32) % letters
	return text[from : from+min(letters, int(h>>16&0xffff)%(2*size+1))]
}

// body returns the body of the request.
func (q ask) body() []byte {
	return fmt.Appendf(nil, `{"model":"tiny","stream":true,"n":%d,"events":%d,"pause":%d,"size":%d,"pad":%d,"messages":[{"role":"user","content":"%s%s"}]}`,
		q.N, q.Events, q.Pause, q.Size, q.Pad, cut(q.N, 1<<40, 200), strings.Repeat("x", q.Pad))
}

// event appends the i-th event; the last one marks the end of the answer.
func (q ask) event(b []byte, i int) []byte {
	lines := q.Path == "/api/chat"
	if !lines {
		b = append(b, "data: "...)
	}
	if i == q.Events && q.Events > 0 {
		if lines {
			return append(b, "{\"done\":true}\n"...)
		}
		if q.Path == "/v1/messages" {
			return append(b, "{\"type\":\"message_stop\"}\n\n"...)
		}
		return append(b, "[DONE]\n\n"...)
	}
	b = fmt.Appendf(b, `{"n":%d,"i":%d,"text":"%s"}`, q.N, i, cut(q.N, uint64(i), q.Size))
	if lines {
		return append(b, '\n')
	}
	return append(b, "\n\n"...)
}

func (q ask) pause(i int) time.Duration {
	return time.Duration(q.Pause) * time.Millisecond * time.Duration(hash(q.N, uint64(i)+1<<20)%1001+500) / 1000
}

// serveAnswers serves an Ollama that answers asks. It prints its address, and reports
// requests that are not as their numbers determine.
func serveAnswers() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	kit.Must(err, "listening")
	fmt.Println(l.Addr())
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, `{"version":"0.0.0","models":[{"name":"tiny:latest","model":"tiny:latest"}]}`)
				return
			}
			in := bufio.NewReader(r.Body)
			if first, err := in.Peek(1); err == nil && first[0] != '{' {
				io.Copy(io.Discard, in) // a request of an attacker, which is not checked
				return
			}
			body, err := io.ReadAll(in)
			if err != nil {
				return // the client has left
			}
			q := ask{Path: r.URL.Path}
			if json.Unmarshal(body, &q) != nil || !bytes.Equal(body, q.body()) {
				kit.Fatal("a request arrived that nobody has sent: %.300q", body)
			}
			q.answer(w, r)
		}),
	}
	kit.Must(server.Serve(l), "serving")
}

func (q ask) answer(w http.ResponseWriter, r *http.Request) {
	kind := "text/event-stream"
	if q.Path == "/api/chat" {
		kind = "application/x-ndjson"
	}
	w.Header().Set("Content-Type", kind)
	var b []byte
	control := http.NewResponseController(w)
	for i := 0; i <= q.Events || q.Events == 0; i++ {
		if i > 0 && q.Pause > 0 {
			timer := time.NewTimer(q.pause(i))
			select {
			case <-timer.C:
			case <-r.Context().Done():
				timer.Stop()
				return
			}
		}
		b = q.event(b[:0], i)
		if _, err := w.Write(b); err != nil || control.Flush() != nil {
			return
		}
	}
}

// A caller is a client that sends its requests on one connection.
type caller struct {
	address, key string
	secure       bool // over TLS
	conn         net.Conn
	in           *bufio.Reader
	want, got    []byte
}

// call sends the request, and returns the status and the body of the answer.
func (c *caller) call(q ask) (status int, body io.Reader, err error) {
	if err := c.dial(); err != nil {
		return 0, nil, err
	}
	if _, err := c.conn.Write(q.request(c.key)); err != nil {
		return 0, nil, err
	}
	return c.answer()
}

// dial connects, if the client is not connected.
func (c *caller) dial() (err error) {
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", c.address, kit.Timeout); err != nil {
			c.conn = nil
			return err
		}
		if c.secure {
			c.conn = tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
		}
		c.in = bufio.NewReaderSize(c.conn, 4<<10)
	}
	return c.conn.SetDeadline(time.Now().Add(10 * time.Minute))
}

// request returns the bytes of the request.
func (q ask) request(key string) []byte {
	text := q.body()
	head := fmt.Appendf(make([]byte, 0, 512+len(text)), "POST %s HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", q.Path, key, len(text))
	return append(head, text...)
}

func (c *caller) answer() (status int, body io.Reader, err error) {
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, nil, err
	}
	return res.StatusCode, res.Body, nil
}

func (c *caller) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

var errLeft = errors.New("left")

// A result describes the answer to an ask.
type result struct {
	first time.Duration // until the first byte of the answer
	bytes int
}

// whole sends the ask, and returns an error unless every byte of the answer is right. If
// leave is not 0, the client leaves before that event.
func (c *caller) whole(q ask, leave int) (r result, err error) {
	from := time.Now()
	defer func() {
		if err != nil {
			c.hangUp()
		}
	}()
	status, body, err := c.call(q)
	if err != nil {
		return r, fmt.Errorf("no answer to %d: %w", q.N, err)
	}
	if status != http.StatusOK {
		text, _ := io.ReadAll(body)
		return r, fmt.Errorf("status %d to %d: %s", status, q.N, text)
	}
	r, err = c.check(q, leave, from, body)
	return r, err
}

// check reads an answer and compares it.
func (c *caller) check(q ask, leave int, from time.Time, body io.Reader) (r result, err error) {
	for i := 0; i <= q.Events; i++ {
		if leave > 0 && i == leave {
			return r, errLeft
		}
		c.want = q.event(c.want[:0], i)
		if cap(c.got) < len(c.want) {
			c.got = make([]byte, 2*len(c.want))
		}
		got := c.got[:len(c.want)]
		n, err := io.ReadAtLeast(body, got, 1)
		if i == 0 {
			r.first = time.Since(from)
		}
		if err == nil && n < len(got) {
			var more int
			more, err = io.ReadFull(body, got[n:])
			n += more
		}
		r.bytes += n
		if err != nil {
			return r, fmt.Errorf("answer %d broke off in event %d of %d: %w, %.300q", q.N, i, q.Events, err, got[:n])
		}
		if !bytes.Equal(got, c.want) {
			return r, fmt.Errorf("answer %d, event %d is %.300q, not %.300q", q.N, i, got, c.want)
		}
	}
	if n, err := body.Read(c.got[:1]); n != 0 || err != io.EOF {
		return r, fmt.Errorf("answer %d goes on after its end: %d, %v", q.N, n, err)
	}
	return r, nil
}
