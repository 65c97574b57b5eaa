package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// recorded is an answer of Ollama's as it stands on the wire. Its Ollama dies
// at every byte of it in turn.
type recorded struct {
	name, path string
	limited    bool // the key is for some models only: the proxy reads the answer

	head, body string
	raw        string // head and body, framed
	passed     []int  // how much of the body is in the first n bytes of raw
	closed     bool   // its end is that of the connection
}

// ofLength is an answer that announces its length.
func ofLength(path, head, body string) *recorded {
	r := &recorded{name: "of known length", path: path, body: body}
	r.begin(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, len(body)))
	r.add(body, true)
	return r
}

// inChunks is an answer in chunks.
func inChunks(path, head string, chunks ...string) *recorded {
	r := &recorded{name: "in chunks", path: path, body: strings.Join(chunks, "")}
	r.begin(head + "Transfer-Encoding: chunked\r\n\r\n")
	for _, c := range chunks {
		r.add(fmt.Sprintf("%x\r\n", len(c)), false)
		r.add(c, true)
		r.add("\r\n", false)
	}
	r.add("0\r\n\r\n", false)
	return r
}

// untilClosed is an answer whose end is that of the connection.
func untilClosed(path, head, body string) *recorded {
	r := &recorded{name: "until closed", path: path, body: body, closed: true}
	r.begin(head + "\r\n")
	r.add(body, true)
	return r
}

func (r *recorded) begin(head string) {
	r.head, r.passed = head, []int{0}
	r.add(head, false)
}

func (r *recorded) add(text string, isBody bool) {
	r.raw += text
	for range text {
		n := r.passed[len(r.passed)-1]
		if isBody {
			n++
		}
		r.passed = append(r.passed, n)
	}
}

const (
	okJSON   = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	okLines  = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
	okEvents = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
)

// recordings hold a word that must not get into the log.
var recordings = []*recorded{
	inChunks("/api/chat", okLines, `{"message":"planted-answer"}`+"\n", `{"message":"b"}`+"\n", `{"done":true}`+"\n"),
	inChunks("/api/generate", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"+okLines, `{"response":"planted-answer"}`+"\n", `{"done":true}`+"\n"),
	inChunks("/v1/chat/completions", okEvents, `data: {"a":"planted-answer"}`+"\n\n", "data: {}\n\ndata: [DONE]\n\n"),
	inChunks("/v1/responses", okEvents, "event: response.created\ndata: {\"a\":\"planted-answer\"}\n\n", "event: response.completed\ndata: {}\n\n"),
	inChunks("/v1/messages", okEvents, "event: message_start\ndata: {\"a\":\"planted-answer\"}\n\n", "event: message_stop\ndata: {}\n\n"),
	ofLength("/api/chat", okJSON, `{"message":"planted-answer","done":true}`),
	ofLength("/v1/chat/completions", okJSON, `{"choices":["planted-answer"]}`),
	ofLength("/v1/messages", "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n", `{"error":"planted-answer"}`),
	inChunks("/v1/responses", okJSON, `{"output":`, `["planted-answer"]}`),
	untilClosed("/api/chat", okLines, `{"message":"planted-answer"}`+"\n"+`{"done":true}`+"\n"),
	untilClosed("/v1/messages", okEvents, "event: message_start\ndata: {\"a\":\"planted-answer\"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
	untilClosed("/v1/responses", okEvents, "event: response.created\ndata: {\"a\":\"planted-answer\"}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\"}\n\n"),
	untilClosed("/v1/chat/completions", okEvents, "data: {\"a\":\"planted-answer\"}\n\ndata: {}\n\ndata: [DONE]\n\n"),
	untilClosed("/api/pull", okLines, `{"status":"planted-answer"}`+"\n"+`{"status":"success"}`+"\n"),
	untilClosed("/v1/completions", "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n", `{"choices":["planted-answer"]}`),
	toBeRead(ofLength("/api/tags", okJSON, `{"models":[{"name":"planted-answer"},{"name":"tiny"}]}`)),
	toBeRead(inChunks("/v1/models", okJSON, `{"data":[{"id":"planted-answer"},`, `{"id":"tiny"}]}`)),
}

// toBeRead is for a key that is for some models only: the proxy passes on what
// it has made of the whole list.
func toBeRead(r *recorded) *recorded {
	r.limited = true
	return r
}

// TestOllamaDiesAtEveryByte: Ollama closes or resets the connection after each byte of
// its answer. The client gets a complete answer where Ollama sent one, and otherwise an
// error or an answer that is visibly broken off. After an error, its connection can be
// used again.
func TestOllamaDiesAtEveryByte(t *testing.T) {
	t.Parallel()
	room := make(chan struct{}, 200) // bounds how many sockets are in use
	var all sync.WaitGroup
	var sites []*handlertest.Site
	for _, r := range recordings {
		// A reset may overtake what was sent before it, so what comes of one
		// is not quite certain.
		for _, reset := range []bool{false, true} {
			s := handlertest.Start(t, handlertest.Config{Address: handlertest.Scripted(t, func(conn *net.TCPConn, req *http.Request) { r.die(conn, req, reset) })})
			key := s.Key
			if r.limited {
				key = s.Mint(false, "models=tiny")
			} else if r.path == "/api/pull" {
				key = s.Mint(true)
			}
			for cut := range len(r.raw) + 1 {
				room <- struct{}{}
				all.Go(func() {
					defer func() { <-room }()
					if err := r.ask(s.Public, key, cut, reset); err != nil {
						t.Errorf("%s %s: Ollama died after %d bytes of %d, %q, reset %t: %v",
							r.path, r.name, cut, len(r.raw), r.raw[max(0, cut-20):cut], reset, err)
					}
				})
			}
			if !reset {
				sites = append(sites, s)
			}
		}
	}
	all.Wait()
	for i, r := range recordings {
		r.audit(t, sites[i])
	}
}

// die sends as much of the answer as the request says.
func (r *recorded) die(conn *net.TCPConn, req *http.Request, reset bool) {
	cut, err := strconv.Atoi(req.Header.Get("X-Cut"))
	if err != nil {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nalive")
		return
	}
	io.WriteString(conn, r.raw[:cut])
	if reset {
		conn.SetLinger(0)
	}
}

// audit sees that the recorder and the log know of each death, and that the log
// quotes nothing.
func (r *recorded) audit(t *testing.T, s *handlertest.Site) {
	broken, truncated := 0, 0
	for cut := range len(r.raw) + 1 {
		switch {
		case r.isWhole(cut, false):
		case r.ends(cut):
			truncated++
			fallthrough
		default:
			broken++
		}
	}
	s.Spy.Idle(t)
	want := append(slices.Repeat([]string{"reset"}, broken-truncated), slices.Repeat([]string{"truncated"}, truncated)...)
	if kinds := slices.Sorted(slices.Values(s.Spy.Texts("UpstreamFailed"))); !slices.Equal(kinds, want) {
		t.Errorf("%s %s: after %d deaths the recorder knows of %d: %q", r.path, r.name, broken, len(kinds), kinds)
	}
	s.AccessLog(t, len(s.Spy.All("RequestEnded")))
	log, _ := s.Log.Text()
	if n := strings.Count(log, `"outcome":"upstream_error"`); n != broken || strings.Contains(log, "planted") {
		t.Errorf("%s %s: after %d deaths the log tells of %d; it quotes Ollama: %t", r.path, r.name, broken, n, strings.Contains(log, "planted"))
	}
}

// isWhole reports whether the first cut bytes and the end of the connection
// are a whole answer. All of a stream's last word but the end of its line, or
// event, is one.
func (r *recorded) isWhole(cut int, reset bool) bool {
	switch {
	case !r.closed:
		return cut == len(r.raw)
	case r.isStream():
		return cut >= len(r.raw)-1 && !reset
	}
	return r.ends(cut) && !reset
}

// ends reports whether the answer comes to a clean end after cut bytes.
func (r *recorded) ends(cut int) bool { return r.closed && cut >= len(r.head) }

func (r *recorded) isStream() bool { return !strings.Contains(r.head, "application/json") }

// ask has Ollama die after cut bytes, and says what is wrong with what the
// client then gets.
func (r *recorded) ask(proxy, key string, cut int, reset bool) error {
	conn, err := net.Dial("tcp", proxy)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(handlertest.Timeout))
	var raw strings.Builder
	in := bufio.NewReader(io.TeeReader(conn, &raw))
	method := "POST"
	if r.limited {
		method = "GET"
	}
	io.WriteString(conn, handlertest.Head(method, r.path, handlertest.Bearer(key), fmt.Sprint("X-Cut: ", cut), "Content-Length: 2")+"\r\n{}")
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return fmt.Errorf("no answer, %w", err)
	}
	body, err := io.ReadAll(res.Body)
	got := handlertest.Answer{Status: res.StatusCode, Header: res.Header, Body: string(body), Err: err}
	if err == nil {
		err = alive(conn, in, key)
	} else if strings.HasSuffix(raw.String(), "\r\n0\r\n\r\n") {
		err = fmt.Errorf("the end of an answer behind one that is broken")
	} else if _, after := in.ReadByte(); after == nil {
		err = fmt.Errorf("more behind a broken answer")
	} else {
		err = nil
	}
	return errors.Join(err, r.judge(got, cut, reset))
}

// alive asks for something else on the same connection.
func alive(conn net.Conn, in *bufio.Reader, key string) error {
	io.WriteString(conn, handlertest.Head("GET", "/api/version", handlertest.Bearer(key))+"\r\n")
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return fmt.Errorf("the connection is of no more use: %w", err)
	}
	if body, err := io.ReadAll(res.Body); res.StatusCode != 200 || string(body) != "alive" || err != nil {
		return fmt.Errorf("the next answer is %s %q, %w", res.Status, body, err)
	}
	return nil
}

// judge says what is wrong with an answer that the client got.
func (r *recorded) judge(got handlertest.Answer, cut int, reset bool) error {
	sent := r.passed[cut]
	whole := r.isWhole(cut, reset)
	begun := cut >= len(r.head) && (sent > 0 || strings.Contains(r.head, "chunked") || r.closed)
	if r.limited {
		begun = whole
	}
	var status int
	fmt.Sscanf(r.head[strings.LastIndex(r.head, "HTTP/"):], "HTTP/1.%d %d", new(int), &status)
	switch {
	case whole && got.Status == status && got.Err == nil:
		want := r.body[:sent]
		if r.limited {
			want = map[string]string{"/api/tags": `{"models":[{"name":"tiny"}]}`, "/v1/models": `{"data":[{"id":"tiny"}]}`}[r.path]
		}
		if got.Body != want {
			return fmt.Errorf("the answer became %q", got.Body)
		}
		return nil
	case whole && !reset:
		return fmt.Errorf("the answer was whole, the client got %s", got)
	case got.Status == 502 && got.Err == nil && (!begun || reset):
		if !strings.Contains(got.Body, `Ollama broke off its answer`) || !strings.HasSuffix(got.Body, "}") {
			return fmt.Errorf("the client reads %q", got.Body)
		}
		return nil
	case !begun:
		return fmt.Errorf("nothing of the answer should pass: %s", got)
	case got.Status != status || !errors.Is(got.Err, io.ErrUnexpectedEOF) && !errors.Is(got.Err, syscall.ECONNRESET):
		return fmt.Errorf("no broken answer: %s %q", got, got.Body)
	}
	passed, event := got.Body, ""
	if i := strings.Index(passed, errorMarks[r.path]); i >= 0 {
		passed, event = passed[:i], passed[i:]
		if !strings.HasPrefix(r.body[:sent], passed) {
			passed = strings.TrimSuffix(passed, "\n") // it ends the event before
		}
	}
	if !strings.HasPrefix(r.body[:sent], passed) || !reset && len(passed) != sent {
		return fmt.Errorf("Ollama sent %q, the client got %q", r.body[:sent], got.Body)
	}
	stream := r.isStream()
	atLine := passed == "" || strings.HasSuffix(passed, "\n")
	if why := map[bool]string{true: "ended its answer before it was whole", false: "broke off its answer"}[r.ends(cut) && !reset]; event != "" && !reset && !strings.Contains(event, why) {
		return fmt.Errorf("the client reads %q", event)
	}
	if (event != "") != (stream && atLine) {
		return fmt.Errorf("an error event behind %q: %q", passed, event)
	}
	return nil
}

// errorMarks are how error events begin. One may need a line's end first.
var errorMarks = map[string]string{
	"/api/chat":            `{"error":"Ollama `,
	"/api/generate":        `{"error":"Ollama `,
	"/api/pull":            `{"error":"Ollama `,
	"/v1/chat/completions": `data: {"error":{"message":"Ollama `,
	"/v1/completions":      `data: {"error":{"message":"Ollama `,
	"/v1/responses":        "event: error\n",
	"/v1/messages":         "event: error\n",
}
