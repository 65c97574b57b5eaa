package e2e_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestEachChunkIsRelayedAtOnce: Ollama sends a chunk only after the client has got the
// one before. A proxy that held a chunk back would wait forever.
func TestEachChunkIsRelayedAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range handlertest.Chats {
		t.Run(c.Path, func(t *testing.T) {
			t.Parallel()
			step := make(chan struct{})
			s := handlertest.Start(t, handlertest.Config{Ollama: standin.Options{Step: step}})
			w := s.Dial(t)
			w.Send("POST", c.Path, c.Ask("tiny", true), handlertest.Bearer(s.Key))
			res := w.ReadHead("POST")
			if res.StatusCode != 200 || !slices.Equal(res.TransferEncoding, []string{"chunked"}) || res.Header.Get("X-Accel-Buffering") != "no" {
				t.Errorf("%s, %v, %v", res.Status, res.TransferEncoding, res.Header)
			}
			text, chunks := handlertest.ReadStepwise(t, res.Body, step, c.End)
			close(step)
			if rest, err := io.ReadAll(res.Body); len(rest) != 0 || err != nil {
				t.Errorf("after the end %q, %v", rest, err)
			}
			if chunks < 20 || !strings.Contains(text, c.End) {
				t.Errorf("%d chunks, ending with %q", chunks, tailOf(text))
			}
			if code := s.Spy.Ended(t, 1); code != 200 {
				t.Errorf("recorded as %d", code)
			}
			if got := s.Spy.Texts("StreamEnded"); !slices.Equal(got, []string{"complete"}) {
				t.Errorf("recorded as %q", got)
			}
		})
	}
}

func tailOf(text string) string { return text[max(0, len(text)-200):] }

// TestHeadIsRelayedAtOnce: a stream may begin long before its first chunk.
func TestHeadIsRelayedAtOnce(t *testing.T) {
	t.Parallel()
	send := make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		<-send
		io.WriteString(w, "data: [DONE]\n\n")
	})})
	w := s.Dial(t)
	w.Send("POST", "/v1/chat/completions", "{}", handlertest.Bearer(s.Key))
	res := w.ReadHead("POST")
	close(send)
	if body, err := io.ReadAll(res.Body); string(body) != "data: [DONE]\n\n" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
}

// answers are what an Ollama, or what may stand in its place, could answer.
// The query of a request says which one it asks for.
var answers = func() map[string]http.HandlerFunc {
	all := map[string]http.HandlerFunc{}
	fill := func(n int) []byte { return bytes.Repeat([]byte("0123456789abcde\n"), n/16+1)[:n] }
	for _, n := range []int{0, 1, 2, 15, 2047, 2048, 2049, 4096, 32<<10 - 1, 32 << 10, 32<<10 + 1, 64 << 10, 1<<20 + 7} {
		body := fill(n)
		all[fmt.Sprint("length-", n)] = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			w.Header().Set("Content-Length", strconv.Itoa(n))
			w.Write(body)
		}
		for _, media := range []string{"application/json", "application/x-ndjson", "text/event-stream; charset=utf-8"} {
			all[fmt.Sprint("chunked-", n, "-", media[:9])] = func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", media)
				for part := range slices.Chunk(body, max(1, n/10)) {
					w.Write(part)
					http.NewResponseController(w).Flush()
				}
			}
		}
	}
	for _, status := range []int{200, 201, 204, 206, 301, 304, 307, 400, 401, 403, 404, 405, 416, 418, 429, 499, 500, 502, 503, 504, 599} {
		all[fmt.Sprint("status-", status)] = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Location", "/api/elsewhere")
			w.Header().Set("Etag", `"1"`)
			w.Header().Set("Retry-After", "7")
			w.Header().Set("WWW-Authenticate", "Negotiate")
			w.WriteHeader(status)
			if status != 204 && status != 304 {
				fmt.Fprintf(w, "this is %d", status)
			}
		}
	}
	all["headers"] = func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Date"] = []string{"Sun, 06 Nov 1994 08:49:37 GMT"}
		h["Set-Cookie"] = []string{"a=1", "b=2"}
		h["Vary"] = []string{"Origin", "Accept"}
		h["Server"] = []string{"an Ollama"}
		h["X-Empty"] = []string{""}
		h["X-Request-Id"] = []string{"theirs"}
		h["Access-Control-Allow-Origin"] = []string{"*"}
		h["Content-Type"] = []string{"application/json"}
		io.WriteString(w, "{}")
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(fill(100_000))
	z.Close()
	for _, coding := range []string{"gzip", "zstd", "identity"} {
		all["coded-"+coding] = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", coding)
			w.Write(zipped.Bytes())
		}
	}
	all["gzip-stream"] = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Content-Encoding", "gzip")
		for part := range slices.Chunk(zipped.Bytes(), 100) {
			w.Write(part)
			http.NewResponseController(w).Flush()
		}
	}
	all["early-hints"] = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "after the hints")
	}
	return all
}()

// TestAnswersEqualOllamas: each answer is compared with the one that Ollama gives to the
// same request directly.
func TestAnswersEqualOllamas(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[r.URL.RawQuery](w, r)
	})})
	for _, name := range slices.Sorted(maps.Keys(answers)) {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			path := "/api/tags"
			if method == "POST" {
				path = "/api/embed" // no stream of its need end in a certain way
			} else if strings.Contains(name, "1048583") {
				continue // takes long and shows nothing new
			}
			ask := func(address string, headers ...string) (*http.Response, handlertest.Answer) {
				w := handlertest.Dial(t, address)
				defer w.Close()
				w.Send(method, path+"?"+name, "", append(headers, "Connection: close")...)
				res := w.ReadHead(method)
				body, err := io.ReadAll(res.Body)
				return res, handlertest.Answer{Body: string(body), Err: err}
			}
			direct, want := ask(s.Upstream)
			proxied, got := ask(s.Public, handlertest.Bearer(s.Key))
			if got.Body != want.Body || got.Err != nil || want.Err != nil {
				t.Errorf("%s %s: %s through the proxy, %s without", method, name, got, want)
			}
			if proxied.StatusCode != direct.StatusCode || proxied.ContentLength != direct.ContentLength ||
				!slices.Equal(proxied.TransferEncoding, direct.TransferEncoding) {
				t.Errorf("%s %s: %d, length %d %v through the proxy; %d, %d %v without", method, name,
					proxied.StatusCode, proxied.ContentLength, proxied.TransferEncoding,
					direct.StatusCode, direct.ContentLength, direct.TransferEncoding)
			}
			for _, h := range []http.Header{proxied.Header, direct.Header} {
				for _, hop := range []string{"Connection", "X-Accel-Buffering", "X-Request-Id"} {
					h.Del(hop)
				}
				if name != "headers" {
					h.Del("Date")
				}
			}
			if !maps.EqualFunc(proxied.Header, direct.Header, slices.Equal) {
				t.Errorf("%s %s: headers %v through the proxy, %v without", method, name, proxied.Header, direct.Header)
			}
		}
	}
}

// TestNoHeaderIsAddedToAnAnswer: except Date, which RFC 9110 requires, and the id of the
// request.
func TestNoHeaderIsAddedToAnAnswer(t *testing.T) {
	t.Parallel()
	address := handlertest.Scripted(t, func(c *net.TCPConn, r *http.Request) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n<html>not html</html>")
	})
	s := handlertest.Start(t, handlertest.Config{Address: address})
	got := s.Ask(t, "GET", "/api/version", "")
	got.Header.Del("Date")
	got.Header.Del("X-Request-Id")
	if want := (http.Header{"Content-Length": {"21"}}); !maps.EqualFunc(got.Header, want, slices.Equal) {
		t.Errorf("the client got %v, Ollama sent %v", got.Header, want)
	}
}

// TestBodyIsRelayedUnchanged: at the sizes at which small bodies, which are read into
// memory, become large ones, which are streamed.
func TestBodyIsRelayedUnchanged(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.MaxBody = 8 << 20 }})
	requests := 0
	for _, size := range []int{0, 1, 2, 100, 4 << 10, 64 << 10, 1<<20 - 1, 1 << 20, 1<<20 + 1, 1<<20 + 2, 8 << 20} {
		body := bytes.Repeat([]byte("\x00\xff\r\n{}0x"), size/8+1)[:size]
		for _, method := range []string{"POST", "DELETE", "GET"} {
			path := map[string]string{"POST": "/api/show", "DELETE": "/api/delete", "GET": "/api/tags"}[method]
			for _, chunk := range []int{0, 1000, 1 << 20} {
				if chunk > 0 && chunk < size/1000 || size > 4<<10 && method != "POST" {
					continue // takes long and shows nothing new
				}
				w := s.Dial(t)
				if chunk == 0 {
					w.Send(method, path, string(body), handlertest.Bearer(s.Admin))
				} else {
					w.Writef("%s\r\n", handlertest.Head(method, path, handlertest.Bearer(s.Admin), "Transfer-Encoding: chunked"))
					buffered := bufio.NewWriterSize(w, 64<<10)
					c := httputil.NewChunkedWriter(buffered)
					for part := range slices.Chunk(body, chunk) {
						c.Write(part)
					}
					c.Close()
					buffered.WriteString("\r\n")
					buffered.Flush()
				}
				got := w.Answer(method)
				w.Close()
				requests++
				seen := s.AwaitRequest(t, requests)
				if seen.BodyLen != int64(size) || seen.BodySum != sha256.Sum256(body) {
					t.Errorf("%s of %d bytes in chunks of %d: %d bytes arrived, or others; %s", method, size, chunk, seen.BodyLen, got)
				}
				if seen.Method != method || seen.URI != path {
					t.Errorf("%s %s arrived as %s %s", method, path, seen.Method, seen.URI)
				}
			}
		}
	}
}

// TestSmallBodyHasAContentLength: also one that arrives in chunks: it is sent to Ollama
// in one write.
func TestSmallBodyHasAContentLength(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	w := s.Dial(t)
	w.Writef("%s\r\n2\r\n{}\r\n0\r\n\r\n", handlertest.Head("POST", "/api/show", handlertest.Bearer(s.Key), "Transfer-Encoding: chunked"))
	w.Answer("POST")
	if got := s.AwaitRequest(t, 1).Header.Get("Content-Length"); got != "2" {
		t.Errorf("Content-Length %q", got)
	}
}

func TestExpectContinueIsAnsweredByTheProxy(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	w := s.Dial(t)
	w.Writef("%s\r\n", handlertest.Head("POST", "/api/show", handlertest.Bearer(s.Key), "Expect: 100-continue", "Content-Length: 16"))
	if line, err := w.R.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	w.R.ReadString('\n')
	w.Writef(`{"model":"tiny"}`)
	if got := w.Answer("POST"); got.Status != 200 {
		t.Error(got)
	}
	if seen := s.AwaitRequest(t, 1); seen.Header.Get("Expect") != "" || string(seen.Body) != `{"model":"tiny"}` {
		t.Errorf("%v, %q", seen.Header, seen.Body)
	}
}

// TestOneConnectionServesManyRequests on both sides of the proxy.
func TestOneConnectionServesManyRequests(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	w := s.Dial(t)
	n := 0
	ask := func(method, path, body string, status int) {
		t.Helper()
		w.Send(method, path, body, handlertest.Bearer(s.Key))
		if got := w.Answer(method); got.Status != status || got.Err != nil {
			t.Errorf("request %d: %s", n+1, got)
		}
		if status < 500 && status != 405 {
			n++
			s.AwaitRequest(t, n)
		}
	}
	for range 3 {
		for _, c := range handlertest.Chats {
			ask("POST", c.Path, c.Ask("tiny", true), 200)
			ask("POST", c.Path, c.Ask("tiny", false), 200)
			ask("POST", c.Path, c.Ask("nope", true), 404)
			ask("POST", c.Path, "{", 400)
		}
		ask("HEAD", "/api/tags", "", 200)
		ask("GET", "/", "", 200)
		ask("PUT", "/api/tags", "", 405)
	}
	// The transport lets go of a connection now and then, when Ollama answers
	// faster than it can take note.
	connections := map[string]bool{}
	for _, seen := range s.Ollama.Seen() {
		connections[seen.RemoteAddr] = true
	}
	if len(connections) > n/10 {
		t.Errorf("%d requests came on %d connections", n, len(connections))
	}
}

// TestPipelining: several requests sent at once are answered in order.
func TestPipelining(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	w := s.Dial(t)
	one := handlertest.Head("GET", "/", handlertest.Bearer(s.Key)) + "\r\n"
	two := handlertest.Head("GET", "/api/version", handlertest.Bearer(s.Key)) + "\r\n"
	w.Writef("%s", one+two+one)
	for _, want := range []string{"Ollama is running", `{"version":"0.33.0"}`, "Ollama is running"} {
		if got := w.Answer("GET"); got.Body != want {
			t.Errorf("%q, not %q", got.Body, want)
		}
	}
}

// TestHTTP10: a client gets the body without chunks, and the connection closes.
func TestHTTP10(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for _, c := range handlertest.Chats {
		for _, stream := range []bool{true, false} {
			body := c.Ask("tiny", stream)
			w := s.Dial(t)
			w.Writef("POST %s HTTP/1.0\r\n%s\r\nContent-Length: %d\r\n\r\n%s", c.Path, handlertest.Bearer(s.Key), len(body), body)
			got := w.Answer("POST")
			if got.Status != 200 || got.Err != nil || got.Header.Get("Transfer-Encoding") != "" || stream != strings.Contains(got.Body, c.End) && c.Path[:4] == "/v1/" {
				t.Errorf("%s: %s %v", c.Path, got, got.Header)
			}
			if err := w.ReadToEnd(); err != nil {
				t.Errorf("%s: the connection ended with %v", c.Path, err)
			}
		}
	}
}

// TestLeavingCancelsTheRequest: a client that leaves, in any way and at any time, ends
// the request at Ollama, so that the GPU stops.
func TestLeavingCancelsTheRequest(t *testing.T) {
	t.Parallel()
	ways := map[string]func(w *handlertest.Wire){
		"FIN":  func(w *handlertest.Wire) { w.Close() },
		"RST":  func(w *handlertest.Wire) { w.SetLinger(0); w.Close() },
		"half": func(w *handlertest.Wire) { w.CloseWrite() },
	}
	times := map[string]struct {
		model  string
		stream bool
		begun  bool
	}{
		"before the first byte":           {"hang", true, false},
		"midway":                          {"hang-mid", true, true},
		"while a whole answer is awaited": {"hang", false, false},
		"in the middle of a whole answer": {"hang-mid", false, true},
	}
	for when, c := range times {
		for how, leave := range ways {
			t.Run(when+" "+how, func(t *testing.T) {
				t.Parallel()
				s := handlertest.Start(t, handlertest.Config{})
				for i, chat := range handlertest.Chats {
					w := s.Dial(t)
					w.Send("POST", chat.Path, chat.Ask(c.model, c.stream), handlertest.Bearer(s.Key))
					seen := s.AwaitRequest(t, i+1)
					if c.begun {
						w.ReadHead("POST")
					}
					left := time.Now()
					leave(w)
					handlertest.Await(t, seen.Gone, "Ollama to notice")
					t.Logf("%s: Ollama noticed after %v", chat.Path, time.Since(left).Round(time.Microsecond))
					if code := s.Spy.Ended(t, i+1); code != 499 {
						t.Errorf("%s: recorded as %d", chat.Path, code)
					}
					if how == "half" {
						io.Copy(io.Discard, w.R)
						if raw := w.Received.String(); strings.HasSuffix(raw, "0\r\n\r\n") || strings.Contains(raw, "broke off") || !c.begun && raw != "" {
							t.Errorf("%s: a client that has closed its half got %q", chat.Path, raw)
						}
					}
				}
				for _, outcome := range s.Spy.Texts("StreamEnded") {
					if outcome != "client_gone" {
						t.Errorf("a stream's end was recorded as %s", outcome)
					}
				}
				if failed := s.Spy.Texts("UpstreamFailed"); len(failed) != 0 {
					t.Errorf("the client's leaving was put down to Ollama: %q", failed)
				}
			})
		}
	}
}

// TestLeavingAnEndlessStream: it is noticed although bytes are being sent all the time.
func TestLeavingAnEndlessStream(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		w.Header().Set("Content-Type", "application/x-ndjson")
		for r.Context().Err() == nil {
			io.WriteString(w, "{}\n")
			http.NewResponseController(w).Flush()
		}
	})})
	w := s.Dial(t)
	w.Send("POST", "/api/chat", "{}", handlertest.Bearer(s.Key))
	w.ReadHead("POST")
	w.Close()
	handlertest.Await(t, gone, "Ollama to notice")
	if code := s.Spy.Ended(t, 1); code != 499 {
		t.Errorf("recorded as %d", code)
	}
	if failed := s.Spy.Texts("UpstreamFailed"); len(failed) != 0 {
		t.Errorf("put down to Ollama: %q", failed)
	}
}

// TestLeavingUnnoticed: net/http notices that a client leaves by reading one byte ahead.
// If the client has sent more than its request, it does not notice, and a time limit
// ends the request at Ollama.
func TestLeavingUnnoticed(t *testing.T) {
	t.Parallel()
	for _, surplus := range []string{"\r\n", handlertest.Head("GET", "/") + "\r\n"} {
		s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.FirstByteTimeout = ample }})
		w := s.Dial(t)
		w.Send("POST", "/api/chat", handlertest.Chats[0].Ask("hang", true), handlertest.Bearer(s.Key))
		seen := s.AwaitRequest(t, 1)
		w.Writef("%s", surplus)
		w.Close()
		handlertest.Await(t, seen.Gone, "Ollama to be let go")
		if code := s.Spy.Ended(t, 1); code != 499 && code != 504 {
			t.Errorf("recorded as %d", code)
		}
	}
}

// TestLeavingDuringTheUpload: Ollama must not take the part of the body that arrived for
// a whole body.
func TestLeavingDuringTheUpload(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 3 << 20} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d chunked=%t", size, chunked), func(t *testing.T) {
				t.Parallel()
				s := handlertest.Start(t, handlertest.Config{})
				w := s.Dial(t)
				half := handlertest.BodyOfSize(size / 2)
				if chunked {
					w.Writef("%s\r\n%x\r\n%s\r\n", handlertest.Head("POST", "/api/chat", handlertest.Bearer(s.Key), "Transfer-Encoding: chunked"), len(half), half)
				} else {
					w.Writef("%s\r\n%s", handlertest.Head("POST", "/api/chat", handlertest.Bearer(s.Key), fmt.Sprint("Content-Length: ", size)), half)
				}
				for n := 1; s.Spy.Sum("Uploaded") < len(half); n++ {
					s.Spy.Await(t, "Uploaded", n)
				}
				w.Close()
				if code := s.Spy.Ended(t, 1); code != 499 {
					t.Errorf("recorded as %d", code)
				}
				if len(half) > 1<<20 {
					handlertest.Await(t, s.AwaitRequest(t, 1).Gone, "Ollama to notice")
				} else {
					s.ExpectNoRequest(t)
				}
			})
		}
	}
}

// TestOllamaRestarts: connections that died with the old process do not fail the first
// requests to the new one.
func TestOllamaRestarts(t *testing.T) {
	t.Parallel()
	l := handlertest.Listen(t)
	address := l.Addr().String()
	serve := func() *httptest.Server {
		o := httptest.NewUnstartedServer(handlertest.AnswerProbes(standin.New(standin.Options{})))
		o.Listener.Close()
		o.Listener = l
		o.Start()
		return o
	}
	old := serve()
	s := handlertest.Start(t, handlertest.Config{Address: address})
	if got := s.Ask(t, "POST", "/api/show", `{"model":"tiny"}`); got.Status != 200 {
		t.Fatal(got)
	}
	old.Close()
	if got := s.Ask(t, "GET", "/api/tags", ""); got.Status != 502 {
		t.Errorf("without an Ollama: %s", got)
	}
	l = handlertest.ListenAt(t, address)
	t.Cleanup(serve().Close)
	if got := s.Ask(t, "POST", "/api/show", `{"model":"tiny"}`); got.Status != 200 {
		t.Errorf("with a new one: %s", got)
	}
}

// TestLinesOfAnySize: they are relayed unchanged.
func TestLinesOfAnySize(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for _, model := range []string{"big", "long"} {
		for i, c := range handlertest.Chats {
			if model == "long" && i%3 > 0 {
				continue // takes long and shows nothing new
			}
			got := s.Ask(t, "POST", c.Path, c.Ask(model, true))
			if got.Err != nil || !strings.Contains(got.Body, c.End) {
				t.Errorf("%s %s: %s", c.Path, model, got)
			}
			longest := 0
			for line := range strings.Lines(got.Body) {
				longest = max(longest, len(line))
			}
			if model == "big" && longest < 300<<10 || model == "long" && strings.Count(got.Body, "\n") < 2000 {
				t.Errorf("%s %s: %d lines, the longest of %d bytes", c.Path, model, strings.Count(got.Body, "\n"), longest)
			}
		}
	}
}

// TestOllamasErrorsAreRelayed: with their status and body.
func TestOllamasErrorsAreRelayed(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	for _, c := range handlertest.Chats {
		unnamed := 400
		if c.Path == "/api/generate" || c.Path == "/v1/completions" {
			unnamed = 404
		}
		for model, status := range map[string]int{"busy": 503, "broken": 500, "nope": 404, "": unnamed} {
			got := s.Ask(t, "POST", c.Path, c.Ask(model, true))
			if got.Status != status || got.Err != nil || got.Header.Get("Retry-After") != "" {
				t.Errorf("%s %s: %s", c.Path, model, got)
			}
			if message, _ := handlertest.ErrorIn(t, c.Path, got.Body); strings.Contains(message, "proxy") {
				t.Errorf("%s %s: %q", c.Path, model, message)
			}
		}
	}
	if failed := s.Spy.Texts("UpstreamFailed"); len(failed) != 0 {
		t.Errorf("recorded as failures of the relay: %q", failed)
	}
	s.Spy.Ended(t, len(handlertest.Chats)*4)
	if refused := s.Spy.Texts("Refused"); len(refused) != 0 {
		t.Errorf("recorded as refusals: %q", refused)
	}
}
