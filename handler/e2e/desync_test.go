package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// bad is an answer of an Ollama that is out of its mind, or in other hands.
type bad struct {
	name   string
	method string
	raw    string // what it sends; it closes the connection at "|"
	gets   string // what the client gets: a status and a body, with … if that breaks off
	again  bool   // the connection to Ollama may carry another request
}

// hostile is an Ollama that sends what a test wants, on connections that it
// would like to keep. A request whose query is no answer's name is answered
// properly.
type hostile struct {
	answers map[string]bad
	ended   map[string]chan struct{} // a connection with the answer has

	mu       sync.Mutex
	mistakes []string
}

func newHostile(answers ...bad) *hostile {
	log.SetOutput(io.Discard) // as main does: net/http quotes what is left over
	h := &hostile{answers: map[string]bad{}, ended: map[string]chan struct{}{}}
	for _, b := range answers {
		h.answers[b.query()], h.ended[b.query()] = b, make(chan struct{})
	}
	return h
}

func (b bad) query() string { return strings.ReplaceAll(b.name, " ", "+") }

func (h *hostile) end(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.ended[name]: // the proxy has tried again
	default:
		close(h.ended[name])
	}
}

// serve lets it listen, and returns where.
func (h *hostile) serve(t *testing.T) string {
	t.Helper()
	l := handlertest.Listen(t)
	var running sync.WaitGroup
	over, end := context.WithCancel(context.Background())
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(over, func() { c.Close() })
			running.Go(func() { h.talk(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		end()
		running.Wait()
	})
	return l.Addr().String()
}

func (h *hostile) talk(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	var last *bad
	for {
		request, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.Copy(io.Discard, request.Body)
		if last != nil && !last.again {
			h.mu.Lock()
			h.mistakes = append(h.mistakes, fmt.Sprintf("%s: the connection carries %s", last.name, request.RequestURI))
			h.mu.Unlock()
		}
		if handlertest.IsProbe(request) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
			continue
		}
		name := request.URL.RawQuery
		answer, ok := h.answers[name]
		if !ok {
			io.WriteString(c, proper(name))
			continue
		}
		defer h.end(name)
		last = &answer
		raw, _, shut := strings.Cut(answer.raw, "|")
		io.WriteString(c, raw)
		if shut {
			return
		}
	}
}

// check fails the test if a connection was used that should not have been.
func (h *hostile) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.mistakes); n > 0 {
		t.Errorf("%d requests on connections with leftovers, such as %s", n, h.mistakes[0])
	}
}

func proper(name string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nthis is %s", len("this is ")+len(name), name)
}

// TestNoDesyncByAnswers: whatever Ollama sends, the client reads a well-formed answer or
// one that visibly breaks off. If its connection stays open, it is in step, and no byte
// is left over for another request.
func TestNoDesyncByAnswers(t *testing.T) {
	t.Parallel()
	h := newHostile(badAnswers...)
	s := handlertest.Start(t, handlertest.Config{Address: h.serve(t)})
	for i, b := range badAnswers {
		t.Run(b.name, func(t *testing.T) {
			w := s.Dial(t)
			defer w.Close()
			w.Send(b.method, "/api/version?"+b.query(), "", handlertest.Bearer(s.Key))
			got, alive := parseAnswer(w, b.method)
			if got != b.gets {
				t.Errorf("the client got %.200q, not %q", got, b.gets)
			}
			own := fmt.Sprint("n", 2*i)
			if alive {
				w.Send("GET", "/api/version?"+own, "", handlertest.Bearer(s.Key))
				if got, _ := parseAnswer(w, "GET"); got != "200 this is "+own {
					t.Errorf("on the same connection the client got %.200q", got)
				}
				w.CloseWrite()
			}
			w.ExpectClosed()
			if !b.again {
				handlertest.Await(t, h.ended[b.query()], "the connection to Ollama to end")
			}
			other := fmt.Sprint("n", 2*i+1)
			if got := s.Ask(t, "GET", "/api/version?"+other, ""); got.Body != "this is "+other || got.Err != nil {
				t.Errorf("another client got %s, %.200q", got, got.Body)
			}
		})
	}
	h.check(t)
}

// parseAnswer reads an answer as no two clients could read it differently, by no
// code of net/http's. It returns the status and the body, and whether there may
// be another answer on the connection.
func parseAnswer(w *handlertest.Wire, method string) (got string, alive bool) {
	w.T.Helper()
	line := func() string {
		text, err := w.R.ReadString('\n')
		line, ok := strings.CutSuffix(text, "\r\n")
		if err != nil || !ok || strings.ContainsFunc(strings.ReplaceAll(line, "\t", ""), isControl) {
			w.T.Errorf("the line %.200q, %v", text, err)
		}
		return line
	}
	words := strings.SplitN(line(), " ", 3)
	if len(words) != 3 || words[0] != "HTTP/1.1" || len(words[1]) != 3 || strings.Trim(words[1], "0123456789") != "" || words[1] < "200" {
		w.T.Errorf("the status line %q", words)
		return "", false
	}
	got, alive = words[1], true
	length, chunked := -1, false
	for {
		text := line()
		if text == "" {
			break
		}
		name, value, ok := strings.Cut(text, ": ")
		if !ok || !isToken(name) {
			w.T.Errorf("the header %q", text)
		}
		switch strings.ToLower(name) {
		case "content-length":
			n, err := strconv.Atoi(value)
			if err != nil || length >= 0 || got == "204" || got == "304" {
				w.T.Errorf("%s with the length %q", got, value)
			}
			length = n
		case "transfer-encoding":
			chunked = value == "chunked"
			if !chunked || got == "204" || got == "304" {
				w.T.Errorf("%s with the coding %q", got, value)
			}
		case "connection":
			alive = value != "close"
		case "set-cookie", "keep-alive", "proxy-authenticate", "te", "trailer", "upgrade":
			w.T.Errorf("the header %q", text)
		}
	}
	if chunked && length >= 0 {
		w.T.Error("two framings")
	}
	var body []byte
	whole := true
	switch {
	case method == "HEAD" || got == "204" || got == "304":
	case chunked:
		var raw bytes.Buffer
		for n := 0; n == 0 && whole; {
			b, err := w.R.ReadByte()
			whole = err == nil
			raw.WriteByte(b)
			var text string
			if text, n, err = parseChunks(raw.Bytes()); err != nil {
				w.T.Error(err)
			}
			body = []byte(text)
		}
	case length >= 0:
		body, _ = io.ReadAll(io.LimitReader(w.R, int64(length)))
		whole = len(body) == length
	default:
		w.T.Error("no framing")
	}
	if got[0] == '5' {
		body = nil // the proxy's own words
	}
	got = strings.TrimSuffix(got+" "+string(body), " ")
	if !whole {
		got += "…"
	}
	return got, alive && whole
}

// TestLeftoversUnderLoad: bytes that Ollama sends after the end of its answer must not
// become the answer to a request that arrives at that moment.
func TestLeftoversUnderLoad(t *testing.T) {
	t.Parallel()
	const clients, each = 8, 30
	var answers []bad
	for i := range clients * each {
		name := fmt.Sprint("x", i)
		answers = append(answers, bad{name: name, raw: []string{proper(name), "HTTP/1.1 204 No Content\r\n\r\n"}[i%2] + evil})
	}
	h := newHostile(answers...)
	s := handlertest.Start(t, handlertest.Config{Address: h.serve(t)})
	var running sync.WaitGroup
	for c := range clients {
		w := s.Dial(t)
		running.Go(func() {
			for i := range each {
				asksFor(w, fmt.Sprint("x", c*each+i), s.Key)
				asksFor(w, fmt.Sprint("n", c*each+i), s.Key)
			}
		})
	}
	running.Wait()
	h.check(t)
}

// asksFor asks for an answer by its name, and fails the test if it gets another
// one that has a body.
func asksFor(w *handlertest.Wire, name, key string) {
	w.SetDeadline(time.Now().Add(handlertest.Timeout))
	fmt.Fprintf(w, "%s\r\n", handlertest.Head("GET", "/api/version?"+name, handlertest.Bearer(key)))
	res, err := http.ReadResponse(w.R, nil)
	if err != nil {
		w.T.Errorf("%s: %v", name, err)
		return
	}
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != 204 && string(body) != "this is "+name || err != nil {
		w.T.Errorf("%s: status %d, %q, %v", name, res.StatusCode, body, err)
	}
}
