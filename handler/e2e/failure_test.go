package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// brief is a time limit that is meant to run out in a test, ample the time
// that a test allows for what is not.
const (
	brief = 30 * time.Millisecond
	ample = 200 * time.Millisecond
)

// blame is what the recorder must hear of a request that failed.
type blame struct {
	code    int
	outcome string // of the access log, and of the stream if there was one
	kind    string // of UpstreamFailed, "" if it is not called
}

func blames(s *handlertest.Site, t *testing.T, want blame, streamed bool) {
	t.Helper()
	if code := s.Spy.Ended(t, 1); code != want.code {
		t.Errorf("recorded as %d, not %d", code, want.code)
	}
	var kinds, outcomes []string
	if want.kind != "" {
		kinds = []string{want.kind}
	}
	if streamed {
		outcomes = []string{want.outcome}
	}
	if got := s.Spy.Texts("UpstreamFailed"); !slices.Equal(got, kinds) {
		t.Errorf("UpstreamFailed %q, not %q", got, kinds)
	}
	if got := s.Spy.Texts("StreamEnded"); !slices.Equal(got, outcomes) {
		t.Errorf("StreamEnded %q, not %q", got, outcomes)
	}
	line := s.AccessLog(t, 1)[0]
	if line["outcome"] != want.outcome || line["status"] != float64(want.code) {
		t.Errorf("the access log says status %v, outcome %v; not %d, %s", line["status"], line["outcome"], want.code, want.outcome)
	}
}

// TestFailuresBeforeTheAnswer: whatever Ollama does instead of answering, the client
// gets a status and an error in its dialect.
func TestFailuresBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, model string
		config      handlertest.Config
		status      int
		message     string
		blame       blame
	}{
		{"refused", "tiny", handlertest.Config{Address: handlertest.ClosedAddress}, 502, "Ollama cannot be reached", blame{502, "upstream_error", "dial"}},
		{"silent", "hang", handlertest.Config{Proxy: func(o *handler.Options) { o.FirstByteTimeout = brief }}, 504, "Ollama sent nothing within 30ms", blame{504, "stalled", "timeout"}},
		{"reset", "reset", handlertest.Config{}, 502, "Ollama broke off its answer", blame{502, "upstream_error", "reset"}},
		{"close", "close", handlertest.Config{}, 502, "Ollama broke off its answer", blame{502, "upstream_error", "reset"}},
		{"garbage", "garbage", handlertest.Config{}, 502, "Ollama's answer cannot be understood", blame{502, "upstream_error", "other"}},
		{"huge-header", "huge-header", handlertest.Config{}, 502, "Ollama's answer cannot be understood", blame{502, "upstream_error", "other"}},
		{"switch", "switch", handlertest.Config{}, 502, "Ollama's answer cannot be understood", blame{502, "upstream_error", "other"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			handlertest.EachChat(t, func(t *testing.T, chat handlertest.Chat, stream bool) {
				s := handlertest.Start(t, c.config)
				got := s.Ask(t, "POST", chat.Path, chat.Ask(c.model, stream))
				if got.Status != c.status || got.Err != nil || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("X-Request-Id") == "" {
					t.Errorf("%s %v", got, got.Header)
				}
				if message, _ := handlertest.ErrorIn(t, chat.Path, got.Body); message != c.message {
					t.Errorf("the client reads %q", message)
				}
				blames(s, t, c.blame, false)
				if c.config.Address == "" && c.blame.kind != "timeout" {
					s.AwaitRequest(t, 1) // where time ran out, it may have done so before
				}
				for _, seen := range s.Ollama.Seen() {
					handlertest.Await(t, seen.Done, "Ollama to be let go")
				}
			})
		})
	}
}

// brokenOff reads what is left of a broken-off answer and fails the test if it
// could pass for a whole one.
func brokenOff(t *testing.T, w *handlertest.Wire, c handlertest.Chat, res *http.Response) (body string) {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client read %q, %v: no broken answer", tailOf(string(b)), err)
	}
	w.ExpectClosed()
	raw := w.Received.String()
	if strings.HasSuffix(raw, "\r\n0\r\n\r\n") || res.ContentLength < 0 && strings.Contains(raw, c.End) {
		t.Errorf("it looks whole: %q", tailOf(raw))
	}
	return string(b)
}

// TestFailuresMidway: an answer that breaks off never looks complete: the connection
// breaks off, and if the last line of a stream was complete, an error event comes
// before.
func TestFailuresMidway(t *testing.T) {
	t.Parallel()
	broke := blame{502, "upstream_error", "reset"}
	stalled := blame{504, "stalled", ""}
	quick := handlertest.Config{Proxy: func(o *handler.Options) { o.StallTimeout = ample }}
	for _, c := range []struct {
		model   string
		config  handlertest.Config
		message string // "" where the last line was cut
		blame   blame
	}{
		{"dies-between", handlertest.Config{}, "Ollama broke off its answer", broke},
		{"dies-mid-line", handlertest.Config{}, "", broke},
		{"short", handlertest.Config{}, "Ollama broke off its answer", broke},
		{"hang-mid", quick, "no data was transferred for 200ms", stalled},
	} {
		t.Run(c.model, func(t *testing.T) {
			handlertest.EachChat(t, func(t *testing.T, chat handlertest.Chat, stream bool) {
				if stream && c.model == "short" {
					return // the same as dies-between
				}
				s := handlertest.Start(t, c.config)
				w := s.Dial(t)
				w.Send("POST", chat.Path, chat.Ask(c.model, stream), handlertest.Bearer(s.Key))
				res := w.ReadHead("POST")
				if res.StatusCode != 200 {
					t.Fatal(res.Status)
				}
				body := brokenOff(t, w, chat, res)
				switch {
				case !stream:
					if int64(len(body)) != res.ContentLength/2 {
						t.Errorf("%d bytes of %d: Ollama sent half", len(body), res.ContentLength)
					}
				case c.message == "":
					if strings.HasSuffix(body, "\n") || strings.Contains(body, "broke off") {
						t.Errorf("something was put into the midst of a line: %q", tailOf(body))
					}
				default:
					if message := errorEvent(t, chat.Path, body); message != c.message {
						t.Errorf("the client reads %q", message)
					}
				}
				blames(s, t, c.blame, stream)
				handlertest.Await(t, s.AwaitRequest(t, 1).Done, "Ollama to be let go")
			})
		})
	}
}

// errorEvent reads the last event of a stream, which is to be an error in the
// dialect of the path, and returns its message.
func errorEvent(t *testing.T, path, body string) (message string) {
	t.Helper()
	if strings.HasPrefix(path, "/api/") {
		lines := strings.SplitAfter(body, "\n")
		if len(lines) < 2 || lines[len(lines)-1] != "" {
			t.Errorf("%s: no line at the end of %q", path, tailOf(body))
			return ""
		}
		message, _ = handlertest.ErrorIn(t, path, lines[len(lines)-2])
		return message
	}
	events := strings.Split(body, "\n\n")
	if len(events) < 2 || events[len(events)-1] != "" {
		t.Errorf("%s: no event at the end of %q", path, tailOf(body))
		return ""
	}
	name, data, _ := strings.Cut(events[len(events)-2], "data: ")
	switch path {
	case "/v1/responses":
		var e struct {
			Type, Code, Message string
			Param               *string
			Sequence            *int `json:"sequence_number"`
			Error               json.RawMessage
		}
		if err := handlertest.Strict(data, &e); err != nil || name != "event: error\n" || e.Type != "error" || e.Code == "" {
			t.Errorf("%s: the event %q %q: %v", path, name, data, err)
		}
		if message, _ := handlertest.ErrorIn(t, path, `{"error":`+string(e.Error)+`}`); message != e.Message {
			t.Errorf("%s: %q in the event, %q in its error", path, e.Message, message)
		}
		if next := strings.Count(body, `"sequence_number":`) - 1; e.Sequence == nil || *e.Sequence != next {
			t.Errorf("%s: the event's number is not %d: %q", path, next, data)
		}
		return e.Message
	case "/v1/messages":
		if name != "event: error\n" {
			t.Errorf("%s: the event is called %q", path, name)
		}
	default:
		if name != "" {
			t.Errorf("%s: the event is called %q", path, name)
		}
	}
	message, _ = handlertest.ErrorIn(t, path, data)
	return message
}

// TestErrorEventIsNotInsideAnEvent: the error event is never sent in the middle of a
// line or event of Ollama's.
func TestErrorEventIsNotInsideAnEvent(t *testing.T) {
	t.Parallel()
	const oops = `{"error":{"message":"Ollama broke off its answer","type":"api_error","param":null,"code":null}}`
	const line = `{"error":"Ollama broke off its answer"}` + "\n"
	for _, c := range []struct{ name, head, sent, want string }{
		{"nothing yet", "Content-Type: text/event-stream", "", "data: " + oops + "\n\n"},
		{"after an event", "Content-Type: text/event-stream", "data: 1\n\n", "data: 1\n\ndata: " + oops + "\n\n"},
		{"after a line of an event", "Content-Type: text/event-stream", "data: 1\n", "data: 1\n\ndata: " + oops + "\n\n"},
		{"after part of a line", "Content-Type: text/event-stream", "data: 1\n\ndata", "data: 1\n\ndata"},
		{"a type with a charset", "Content-Type: Text/Event-Stream; charset=utf-8", "data: 1\n\n", "data: 1\n\ndata: " + oops + "\n\n"},
		{"lines, nothing yet", "Content-Type: application/x-ndjson", "", line},
		{"lines", "Content-Type: application/x-ndjson", "{}\n", "{}\n" + line},
		{"part of a line", "Content-Type: application/x-ndjson", "{}\n{", "{}\n{"},
		{"no stream", "Content-Type: application/json", "{}\n", "{}\n"},
		{"no type", "X-Some: thing", "{}\n", "{}\n"},
		{"a compressed stream", "Content-Type: text/event-stream\r\nContent-Encoding: gzip", "\x1f\x8b\n\n", "\x1f\x8b\n\n"},
		{"a compressed stream, nothing yet", "Content-Type: application/x-ndjson\r\nContent-Encoding: gzip", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{Address: handlertest.Scripted(t, func(conn *net.TCPConn, _ *http.Request) {
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s\r\nTransfer-Encoding: chunked\r\n\r\n", c.head)
				if c.sent != "" {
					fmt.Fprintf(conn, "%x\r\n%s\r\n", len(c.sent), c.sent)
				}
			})})
			w := s.Dial(t)
			w.Send("POST", "/v1/chat/completions", "{}", handlertest.Bearer(s.Key))
			if got := brokenOff(t, w, handlertest.Chats[2], w.ReadHead("POST")); got != c.want {
				t.Errorf("the client got %q, not %q", got, c.want)
			}
		})
	}
}

// TestBrokenChunkFraming: an invalid chunk from Ollama is treated as an answer that
// broke off.
func TestBrokenChunkFraming(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Address: handlertest.Scripted(t, func(conn *net.TCPConn, _ *http.Request) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\nno number\r\n")
	})})
	w := s.Dial(t)
	w.Send("POST", "/api/chat", "{}", handlertest.Bearer(s.Key))
	brokenOff(t, w, handlertest.Chats[0], w.ReadHead("POST"))
	blames(s, t, blame{502, "upstream_error", "other"}, true)
}

// TestBrokenAnswerOverHTTP10: an orderly close would be the proper end of an answer in
// HTTP/1.0, so the connection is reset.
func TestBrokenAnswerOverHTTP10(t *testing.T) {
	t.Parallel()
	for _, c := range handlertest.Chats {
		for _, model := range []string{"dies-between", "dies-mid-line", "reset", "hang-mid"} {
			if model == "hang-mid" && c.Path != "/api/chat" {
				continue // takes long and shows nothing new
			}
			t.Run(c.Path+" "+model, func(t *testing.T) {
				t.Parallel()
				s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.StallTimeout = ample }})
				body := c.Ask(model, true)
				w := s.Dial(t)
				w.Writef("POST %s HTTP/1.0\r\n%s\r\nContent-Length: %d\r\n\r\n%s", c.Path, handlertest.Bearer(s.Key), len(body), body)
				if model == "reset" {
					if got := w.Answer("POST"); got.Status != 502 || got.Err != nil {
						t.Error(got)
					}
					return
				}
				// A reset may overtake all that was sent before it.
				if _, err := io.Copy(io.Discard, w.R); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("after %q the connection ended with %v", tailOf(w.Received.String()), err)
				}
				if strings.Contains(w.Received.String(), c.End) {
					t.Errorf("it looks whole: %q", w.Received)
				}
			})
		}
	}
}

// TestClientStopsReading: it can hold a GPU for the stall timeout, and no longer.
func TestClientStopsReading(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{
		Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(gone)
			w.Header().Set("Content-Type", "application/x-ndjson")
			line := []byte(strings.Repeat("a", 64<<10-1) + "\n")
			for r.Context().Err() == nil {
				w.Write(line)
			}
		}),
		Proxy: func(o *handler.Options) { o.StallTimeout = ample },
	})
	w := s.Dial(t)
	w.Send("POST", "/api/chat", "{}", handlertest.Bearer(s.Key))
	res := w.ReadHead("POST")
	handlertest.Await(t, gone, "Ollama to be let go")
	blames(s, t, blame{504, "stalled", ""}, true)
	brokenOff(t, w, handlertest.Chats[0], res)
}

// TestClientStopsSending: it is given up after the stall timeout, and Ollama never gets
// a whole request.
func TestClientStopsSending(t *testing.T) {
	t.Parallel()
	for framing, c := range map[string]handlertest.Chat{"Content-Length: 3000000": handlertest.Chats[0], "Transfer-Encoding: chunked": handlertest.Chats[5]} {
		for _, size := range []int{0, 1000, 1_200_000} {
			t.Run(fmt.Sprint(framing, " after ", size), func(t *testing.T) {
				t.Parallel()
				s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.StallTimeout = ample }})
				w := s.Dial(t)
				w.Writef("%s\r\n", handlertest.Head("POST", c.Path, handlertest.Bearer(s.Key), framing))
				chunked := strings.HasSuffix(framing, "chunked")
				part := handlertest.BodyOfSize(size)
				if chunked && size > 0 {
					part = fmt.Sprintf("%x\r\n%s\r\n", size, part)
				}
				w.Writef("%s", part)
				got := w.Answer("POST")
				if got.Status != 504 || got.Err != nil {
					t.Error(got)
				}
				if message, _ := handlertest.ErrorIn(t, c.Path, got.Body); message != "no data was transferred for 200ms" {
					t.Errorf("the client reads %q", message)
				}
				w.ExpectClosed()
				blames(s, t, blame{504, "stalled", ""}, false)
				if !chunked || size > 1<<20 {
					handlertest.Await(t, s.AwaitRequest(t, 1).Gone, "Ollama to be let go")
				} else {
					s.ExpectNoRequest(t)
				}
			})
		}
	}
}

// bubble runs one request against a Proxy with the limits of its defaults, a
// made-up Ollama, and a clock that does not wait: see testing/synctest.
func bubble(t *testing.T, body io.Reader, ollama func(r *http.Request) (*http.Response, error)) (handlertest.Answer, *handlertest.Spy) {
	t.Helper()
	return bubbleAt(t, "/api/generate", 0, body, ollama)
}

// bubbleAt is bubble for any path, with heartbeats.
func bubbleAt(t *testing.T, path string, heartbeat time.Duration, body io.Reader, ollama func(r *http.Request) (*http.Response, error)) (handlertest.Answer, *handlertest.Spy) {
	t.Helper()
	return bubbleOver(t, path, heartbeat, body, func(r *http.Request) (*http.Response, error) {
		if handlertest.IsProbe(r) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"models":[]}`))}, nil
		}
		return ollama(r)
	})
}

// bubbleBefore is bubble for an Ollama that answers the proxy's own questions, too.
func bubbleBefore(t *testing.T, body io.Reader, ollama func(r *http.Request) (*http.Response, error)) (handlertest.Answer, *handlertest.Spy) {
	t.Helper()
	return bubbleOver(t, "/api/generate", 0, body, ollama)
}

func bubbleOver(t *testing.T, path string, heartbeat time.Duration, body io.Reader, ollama func(r *http.Request) (*http.Response, error)) (handlertest.Answer, *handlertest.Spy) {
	t.Helper()
	secret, _ := signer.NewSecret()
	key, err := signer.Mint(secret, false)
	if err != nil {
		t.Fatal(err)
	}
	s := handlertest.NewSpy()
	p := handler.New(handler.Options{
		Upstream:  &url.URL{Scheme: "http", Host: "ollama"},
		Keys:      signer.NewVerifier(secret),
		Recorder:  s,
		Log:       slog.New(slog.DiscardHandler),
		Transport: roundTripper(ollama),
		Heartbeat: heartbeat,
	})
	r := httptest.NewRequest("POST", path, body)
	r.Header.Set("Authorization", "Bearer "+key)
	w := httptest.NewRecorder()
	var a handlertest.Answer
	func() {
		defer func() {
			if v := recover(); v != nil {
				a.Err = v.(error)
			}
		}()
		p.ServeHTTP(w, r)
	}()
	a.Status, a.Header, a.Body = w.Code, w.Header(), w.Body.String()
	return a, s
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// consume reads a request's body and closes it, which every RoundTripper must.
func consume(r *http.Request) {
	io.Copy(io.Discard, r.Body)
	r.Body.Close()
}

// whole is all that a stream of lines needs.
const whole = `{"done":true}` + "\n"

// streamed is an answer without a length.
func streamed(body io.Reader) *http.Response {
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {"application/x-ndjson"}},
		ContentLength: -1, Body: io.NopCloser(body),
	}
}

// drip yields one byte of the text after each pause.
func drip(text string, pause time.Duration) io.Reader {
	r, w := io.Pipe()
	go func() {
		for _, b := range []byte(text) {
			time.Sleep(pause)
			w.Write([]byte{b})
		}
		w.Close()
	}()
	return r
}

// untilCut yields text and then nothing until the request is cut.
func untilCut(ctx context.Context, text string) io.Reader {
	r, w := io.Pipe()
	go func() {
		io.WriteString(w, text)
		<-ctx.Done()
		w.CloseWithError(ctx.Err())
	}()
	return r
}

// TestSlowUploadIsNotStalled: each byte restarts the stall timeout.
func TestSlowUploadIsNotStalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ask := `{"model":"tiny","prompt":"slow"}`
		got, _ := bubble(t, drip(ask, 4*time.Minute), func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			if string(body) != ask {
				t.Errorf("Ollama got %q, %v", body, err)
			}
			return streamed(strings.NewReader(whole)), nil
		})
		if got.Status != 200 || got.Body != whole || got.Err != nil {
			t.Errorf("%s %q", got, got.Body)
		}
	})
}

// TestSlowStreamIsNotStalled: the stall timeout limits the pause between two chunks, not
// the whole stream.
func TestSlowStreamIsNotStalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const text = `{"response":"takes hours","done":true}` + "\n"
		got, _ := bubble(t, strings.NewReader(`{"model":"tiny"}`), func(r *http.Request) (*http.Response, error) {
			return streamed(drip(text, 4*time.Minute)), nil
		})
		if got.Body != text || got.Err != nil {
			t.Errorf("%s %q", got, got.Body)
		}
	})
}

// TestLoadingModelIsNotStalled: before the first byte only FirstByteTimeout counts, from
// the end of the upload.
func TestLoadingModelIsNotStalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got, _ := bubble(t, drip(`{"model":"tiny"}`, time.Minute), func(r *http.Request) (*http.Response, error) {
			consume(r)
			time.Sleep(14 * time.Minute)
			return streamed(strings.NewReader(whole)), nil
		})
		if got.Body != whole || got.Err != nil {
			t.Errorf("%s %q", got, got.Body)
		}
	})
}

// TestDefaultTimeouts: 15 minutes for the first byte, and 5 minutes without a byte.
func TestDefaultTimeouts(t *testing.T) {
	t.Parallel()
	silent := func(r *http.Request) (*http.Response, error) {
		consume(r)
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	begins := func(r *http.Request) (*http.Response, error) {
		consume(r)
		return streamed(untilCut(r.Context(), "{}\n")), nil
	}
	for name, c := range map[string]struct {
		ollama func(*http.Request) (*http.Response, error)
		status int
		body   string
		err    error
		after  time.Duration
	}{
		"no first byte": {silent, 504, `{"error":"Ollama sent nothing within 15m0s"}`, nil, 15 * time.Minute},
		"no second":     {begins, 200, "{}\n" + `{"error":"no data was transferred for 5m0s"}` + "\n", http.ErrAbortHandler, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				got, spy := bubble(t, strings.NewReader(`{"model":"tiny"}`), c.ollama)
				if got.Status != c.status || got.Body != c.body || got.Err != c.err {
					t.Errorf("%s %q", got, got.Body)
				}
				if took := time.Since(began); took < c.after || took > c.after+time.Second {
					t.Errorf("after %v", took)
				}
				if code := spy.All("RequestEnded")[0].N; code != 504 {
					t.Errorf("recorded as %d", code)
				}
			})
		})
	}
}

// TestStallTimeoutOfAnEarlyAnswer: if Ollama answers before it has read the body, the
// end of the upload must not replace the stall timeout by FirstByteTimeout.
func TestStallTimeoutOfAnEarlyAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		// Larger than what is read into memory before Ollama is asked.
		upload := io.MultiReader(strings.NewReader(strings.Repeat(" ", 2<<20)), drip("the end", time.Second))
		got, spy := bubble(t, upload, func(r *http.Request) (*http.Response, error) {
			go consume(r)
			return streamed(untilCut(r.Context(), "{}\n")), nil
		})
		if took := time.Since(began).Round(time.Minute); took != 5*time.Minute {
			t.Errorf("cut after %v: the stream stood still for 5m0s", took)
		}
		if !strings.Contains(got.Body, "no data was transferred") {
			t.Errorf("the client reads %q", got.Body)
		}
		if kinds := spy.Texts("UpstreamFailed"); len(kinds) != 0 {
			t.Errorf("recorded as %q", kinds)
		}
	})
}

// TestConnectionOutlivesAFailure: after an error that came before the answer, the
// client's next request on the connection is served.
func TestConnectionOutlivesAFailure(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	w := s.Dial(t)
	for _, model := range []string{"reset", "close", "garbage", "huge-header", "switch"} {
		for want, ask := range map[int]string{502: model, 200: "tiny"} {
			w.Send("POST", "/api/chat", handlertest.Chats[0].Ask(ask, true), handlertest.Bearer(s.Key))
			if got := w.Answer("POST"); got.Status != want || got.Err != nil {
				t.Errorf("%s: %s", ask, got)
			}
		}
	}
}

// TestErrorsDoNotQuoteOllama: bytes that Ollama sends instead of HTTP may contain
// anything, and appear in no log and no error.
func TestErrorsDoNotQuoteOllama(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Address: handlertest.Scripted(t, func(conn *net.TCPConn, _ *http.Request) {
		io.WriteString(conn, "a-secret-prompt and no HTTP\r\n\r\n")
	})})
	got := s.Ask(t, "POST", "/api/chat", "{}")
	s.AccessLog(t, 1)
	if log, _ := s.Log.Text(); got.Status != 502 || strings.Contains(got.Body+log, "a-secret-prompt") {
		t.Errorf("%s %q, %s", got, got.Body, log)
	}
}

// TestOutcomesAreListed: the outcomes in these tests are those of StreamOutcomes.
func TestOutcomesAreListed(t *testing.T) {
	t.Parallel()
	for _, outcome := range []string{"complete", "client_gone", "upstream_error", "stalled", "shutdown"} {
		if !slices.Contains(handler.StreamOutcomes(), outcome) {
			t.Errorf("%q is no outcome", outcome)
		}
	}
	for _, kind := range []string{"dial", "timeout", "reset", "other"} {
		if !slices.Contains(upstream.Errors(), kind) {
			t.Errorf("%q is no kind of failure", kind)
		}
	}
}
