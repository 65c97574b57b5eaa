package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// fault is what an Ollama does in place of answering, and what comes of it.
// What it sends holds the word "planted".
type fault struct {
	name    string
	ollama  func(conn *net.TCPConn)
	message string // for the client
	blame   blame
	log     string // "error" of the access log
}

// dialects has one route of each.
var dialects = []handlertest.Chat{handlertest.Chats[0], handlertest.Chats[2], handlertest.Chats[4], handlertest.Chats[5]}

// say sends text, and waits until the proxy has had enough.
func say(text string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		io.WriteString(conn, text)
		io.Copy(io.Discard, conn)
	}
}

// sayAndHangUp sends text and closes.
func sayAndHangUp(text string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) { io.WriteString(conn, text) }
}

// goOn sends text, and then more after each pause, until the proxy closes the connection.
// The pauses only bound how much is sent.
func goOn(text, more string, pause time.Duration) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		io.WriteString(conn, text)
		for _, err := io.WriteString(conn, more); err == nil; _, err = io.WriteString(conn, more) {
			time.Sleep(pause)
		}
	}
}

const (
	brokeOff   = "Ollama broke off its answer"
	nonsense   = "Ollama's answer cannot be understood"
	notInTime  = "Ollama sent nothing within 200ms"
	nothingNew = "no data was transferred for 200ms"
	interim    = "HTTP/1.1 103 Early Hints\r\nX: planted\r\n\r\n"
)

var (
	reset   = blame{502, "upstream_error", "reset"}
	odd     = blame{502, "upstream_error", "other"}
	silent  = blame{504, "stalled", "timeout"}
	stalled = blame{504, "stalled", ""}
)

// faultsBeforeTheAnswer are beside those of the stand-in, for which see
// TestFailuresBeforeTheAnswer.
var faultsBeforeTheAnswer = []fault{
	{"half-closed", func(c *net.TCPConn) { c.CloseWrite(); io.Copy(io.Discard, c) }, brokeOff, reset, "unexpected EOF"},
	{"half-closed in its head", func(c *net.TCPConn) { io.WriteString(c, "HTTP/1.1 2"); c.CloseWrite(); io.Copy(io.Discard, c) }, brokeOff, reset, "unexpected EOF"},
	{"reset in its head", func(c *net.TCPConn) { io.WriteString(c, okJSON+"X: planted"); c.SetLinger(0) }, brokeOff, reset, "connection reset by peer"},
	{"a head that drips", goOn("HTTP/1.1 200 OK\r\nX: planted", "x", time.Millisecond), notInTime, silent, "no first byte in time"},
	{"a line without end", goOn("HTTP/1.1 200 OK\r\nX: planted", strings.Repeat("x", 8<<10), 0), nonsense, odd, "not a proper HTTP answer"},
	{"lines without end", goOn("HTTP/1.1 200 OK\r\n", strings.Repeat("X: planted\r\n", 999), 0), nonsense, odd, "not a proper HTTP answer"},
	{"interim answers without end", goOn("", interim, 0), nonsense, odd, "not a proper HTTP answer"},
	{"an interim answer and no more", say(interim), notInTime, silent, "no first byte in time"},
	{"an interim answer and the end", sayAndHangUp(interim), brokeOff, reset, "unexpected EOF"},
	{"no HTTP", say("220 planted ESMTP\r\n"), nonsense, odd, "not a proper HTTP answer"},
	{"no HTTP, in half a line", say("planted"), nonsense, odd, "not a proper HTTP answer"},
	{"a TLS alert", sayAndHangUp("\x15\x03\x01\x00\x02\x02\x46"), nonsense, odd, "not a proper HTTP answer"},
	{"HTTP/2", say("\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"), nonsense, odd, "not a proper HTTP answer"},
	{"a status of two digits", say("HTTP/1.1 20 planted\r\n\r\n"), nonsense, odd, "not a proper HTTP answer"},
	{"a status below any", say("HTTP/1.1 099 planted\r\nContent-Length: 0\r\n\r\n"), nonsense, odd, "not a proper HTTP answer"},
	{"a status beyond any", say("HTTP/1.1 1000 planted\r\nContent-Length: 0\r\n\r\n"), nonsense, odd, "not a proper HTTP answer"},
	{"a header that is none", say("HTTP/1.1 200 OK\r\nplanted\r\n\r\n"), nonsense, odd, "not a proper HTTP answer"},
	{"two lengths", say(okJSON + "Content-Length: 7\r\nContent-Length: 8\r\n\r\nplanted"), nonsense, odd, "not a proper HTTP answer"},
	{"a length that is none", say(okJSON + "Content-Length: planted\r\n\r\n"), nonsense, odd, "not a proper HTTP answer"},
	{"a length and nothing", say(okJSON + "Content-Length: 7\r\n\r\n"), nothingNew, stalled, ""},
	{"a length and the end", sayAndHangUp(okJSON + "Content-Length: 7\r\n\r\n"), brokeOff, reset, "unexpected EOF"},
	{"a coding that nobody knows", say(okJSON + "Transfer-Encoding: planted\r\n\r\n"), nonsense, odd, "not a proper HTTP answer"},
}

// faultsMidway happen where a stream has sent one whole event.
var faultsMidway = []fault{
	{"a chunk without a size", say("planted\r\n"), brokeOff, odd, "not a proper HTTP answer"},
	{"a chunk of negative size", say("-1\r\nplanted"), brokeOff, odd, "not a proper HTTP answer"},
	{"a chunk larger than any", say("10000000000000000\r\nplanted"), brokeOff, odd, "not a proper HTTP answer"},
	{"a chunk's line without end", goOn("1;planted", strings.Repeat("x", 999), 0), brokeOff, odd, "not a proper HTTP answer"},
	{"a trailer without end", goOn("0\r\nX: planted", strings.Repeat("x", 999), 0), brokeOff, odd, "not a proper HTTP answer"},
	{"a trailer that is none", say("0\r\nplanted\r\n\r\n"), brokeOff, odd, "not a proper HTTP answer"},
	{"half-closed", func(c *net.TCPConn) { c.CloseWrite(); io.Copy(io.Discard, c) }, brokeOff, reset, "unexpected EOF"},
	{"half-closed in its last line", func(c *net.TCPConn) { io.WriteString(c, "0\r\n\r"); c.CloseWrite(); io.Copy(io.Discard, c) }, brokeOff, reset, "unexpected EOF"},
	{"reset", func(c *net.TCPConn) { c.SetLinger(0) }, brokeOff, reset, "connection reset by peer"},
	{"silence", say(""), nothingNew, stalled, ""},
	{"silence before the last line", say("0\r\n"), nothingNew, stalled, ""},
}

// TestFaultsBeforeTheAnswer: the client gets an error in its dialect, the recorder and
// the log say who was at fault, and no byte from Ollama or the client is in the log. The
// connection to Ollama is closed.
func TestFaultsBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	for _, f := range faultsBeforeTheAnswer {
		f.inEachDialect(t, func(handlertest.Chat) string { return "" }, func(t *testing.T, c handlertest.Chat, s *handlertest.Site, w *handlertest.Wire) {
			got := w.Answer("POST")
			if got.Status != f.blame.code || got.Err != nil || got.Header.Get("Content-Type") != "application/json" || strings.Contains(fmt.Sprint(got.Header), "planted") {
				t.Errorf("%s: %s %v", c.Path, got, got.Header)
			}
			if message, _ := handlertest.ErrorIn(t, c.Path, got.Body); message != f.message {
				t.Errorf("%s: the client reads %q", c.Path, message)
			}
			blames(s, t, f.blame, false)
		})
	}
}

// TestFaultsMidway: the last event of the stream is an error, and the connection breaks
// off.
func TestFaultsMidway(t *testing.T) {
	t.Parallel()
	first := func(c handlertest.Chat) string {
		if c.Path == "/api/chat" {
			return "{\"planted\":1}\n"
		}
		return "data: {\"planted\":1}\n\n"
	}
	begin := func(c handlertest.Chat) string {
		head := okEvents
		if c.Path == "/api/chat" {
			head = okLines
		}
		return fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", head, len(first(c)), first(c))
	}
	for _, f := range faultsMidway {
		f.inEachDialect(t, begin, func(t *testing.T, c handlertest.Chat, s *handlertest.Site, w *handlertest.Wire) {
			body := brokenOff(t, w, c, w.ReadHead("POST"))
			if message := errorEvent(t, c.Path, body); message != f.message || !strings.HasPrefix(body, first(c)) {
				t.Errorf("%s: the client reads %q", c.Path, body)
			}
			blames(s, t, f.blame, true)
		})
	}
}

// inEachDialect runs a site for each, whose Ollama says how its answer begins and
// then has the fault, and asks all of them before it looks at what comes back.
func (f fault) inEachDialect(t *testing.T, begin func(handlertest.Chat) string, look func(*testing.T, handlertest.Chat, *handlertest.Site, *handlertest.Wire)) {
	t.Run(f.name, func(t *testing.T) {
		t.Parallel()
		var sites []*handlertest.Site
		var wires []*handlertest.Wire
		for i, c := range dialects {
			sites = append(sites, handlertest.Start(t, handlertest.Config{
				Address: handlertest.Scripted(t, func(conn *net.TCPConn, _ *http.Request) {
					io.WriteString(conn, begin(c))
					f.ollama(conn)
				}),
				Proxy: func(o *handler.Options) {
					switch f.message {
					case notInTime:
						o.FirstByteTimeout = ample
					case nothingNew:
						o.StallTimeout = ample
					}
				},
			}))
			wires = append(wires, sites[i].Dial(t))
			wires[i].Send("POST", c.Path, c.Ask("planted", true), handlertest.Bearer(sites[i].Key))
		}
		for i, c := range dialects {
			look(t, c, sites[i], wires[i])
			f.isLogged(t, sites[i])
		}
	})
}

func (f fault) isLogged(t *testing.T, s *handlertest.Site) {
	t.Helper()
	said, _ := s.AccessLog(t, 1)[0]["error"].(string)
	if !strings.HasSuffix(said, f.log) {
		t.Errorf("the log says %q, not %q", said, f.log)
	}
	log, _ := s.Log.Text()
	if n := strings.Count(log, "planted"); n > 1 || n == 1 && !strings.Contains(log, `"model":"planted:latest"`) {
		t.Errorf("the log quotes what was sent: %s", log)
	}
}
