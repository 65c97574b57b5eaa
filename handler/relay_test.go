package handler_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// TestEachChunkPassesAtOnce lets Ollama send a chunk only after the client has
// got the one before: a proxy that held one back would wait for ever.
func TestEachChunkPassesAtOnce(t *testing.T) {
	t.Parallel()
	for _, c := range chats {
		t.Run(c.path, func(t *testing.T) {
			t.Parallel()
			step := make(chan struct{})
			s := start(t, config{ollama: standin.Options{Step: step}})
			w := s.dial(t)
			w.send("POST", c.path, c.ask("tiny", true), bearer(s.key))
			res := w.begun("POST")
			if res.StatusCode != 200 || !slices.Equal(res.TransferEncoding, []string{"chunked"}) || res.Header.Get("X-Accel-Buffering") != "no" {
				t.Errorf("%s, %v, %v", res.Status, res.TransferEncoding, res.Header)
			}
			var text strings.Builder
			chunks := 0
			buffer := make([]byte, 64<<10)
			for {
				n, err := res.Body.Read(buffer)
				text.Write(buffer[:n])
				if err != nil || strings.Contains(text.String(), c.end) {
					break
				}
				chunks++
				select {
				case step <- struct{}{}:
				case <-time.After(patience):
					t.Fatalf("after %d chunks Ollama does not go on", chunks)
				}
			}
			close(step)
			if rest, err := io.ReadAll(res.Body); len(rest) != 0 || err != nil {
				t.Errorf("after the end %q, %v", rest, err)
			}
			if chunks < 20 || !strings.Contains(text.String(), c.end) {
				t.Errorf("%d chunks, ending with %q", chunks, tailOf(text.String()))
			}
			if code := s.spy.ended(t, 1); code != 200 {
				t.Errorf("recorded as %d", code)
			}
			if got := s.spy.texts("StreamEnded"); !slices.Equal(got, []string{"complete"}) {
				t.Errorf("recorded as %q", got)
			}
		})
	}
}

func tailOf(text string) string { return text[max(0, len(text)-200):] }

// TestTheHeadPassesAtOnce is for a stream that begins long before its first
// chunk.
func TestTheHeadPassesAtOnce(t *testing.T) {
	t.Parallel()
	send := make(chan struct{})
	s := start(t, config{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		<-send
		io.WriteString(w, "data: [DONE]\n\n")
	})})
	w := s.dial(t)
	w.send("POST", "/v1/chat/completions", "{}", bearer(s.key))
	res := w.begun("POST")
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

// TestTheAnswerIsOllamas compares each answer with the one that a client gets
// who asks Ollama itself.
func TestTheAnswerIsOllamas(t *testing.T) {
	t.Parallel()
	s := start(t, config{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			ask := func(address string, headers ...string) (*http.Response, answer) {
				w := dial(t, address)
				defer w.Close()
				w.send(method, path+"?"+name, "", append(headers, "Connection: close")...)
				res := w.begun(method)
				body, err := io.ReadAll(res.Body)
				return res, answer{body: string(body), err: err}
			}
			direct, want := ask(s.upstream)
			proxied, got := ask(s.public, bearer(s.key))
			if got.body != want.body || got.err != nil || want.err != nil {
				t.Errorf("%s %s: %s through the proxy, %s without", method, name, got, want)
			}
			if proxied.StatusCode != direct.StatusCode || proxied.ContentLength != direct.ContentLength ||
				!slices.Equal(proxied.TransferEncoding, direct.TransferEncoding) {
				t.Errorf("%s %s: %d, length %d %v through the proxy; %d, %d %v without", method, name,
					proxied.StatusCode, proxied.ContentLength, proxied.TransferEncoding,
					direct.StatusCode, direct.ContentLength, direct.TransferEncoding)
			}
			for _, h := range []http.Header{proxied.Header, direct.Header} {
				for _, hop := range []string{"Connection", "X-Accel-Buffering"} {
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

// TestNoHeaderIsInvented: what Ollama does not say of its answer, the proxy
// does not guess. A Date is what RFC 9110 asks it to add.
func TestNoHeaderIsInvented(t *testing.T) {
	t.Parallel()
	address := scripted(t, func(c *tcpConn, r *http.Request) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n<html>not html</html>")
	})
	s := start(t, config{address: address})
	got := s.ask(t, "GET", "/api/version", "")
	got.header.Del("Date")
	if want := (http.Header{"Content-Length": {"21"}}); !maps.EqualFunc(got.header, want, slices.Equal) {
		t.Errorf("the client got %v, Ollama sent %v", got.header, want)
	}
}

// TestTheBodyArrivesAsItWasSent at the sizes where something changes: what is
// small is read into memory, what is large streams.
func TestTheBodyArrivesAsItWasSent(t *testing.T) {
	t.Parallel()
	s := start(t, config{proxy: func(o *options) { o.MaxBody = 8 << 20 }})
	requests := 0
	for _, size := range []int{0, 1, 2, 100, 4 << 10, 64 << 10, 1<<20 - 1, 1 << 20, 1<<20 + 1, 1<<20 + 2, 8 << 20} {
		body := bytes.Repeat([]byte("\x00\xff\r\n{}0x"), size/8+1)[:size]
		for _, method := range []string{"POST", "DELETE", "GET"} {
			path := map[string]string{"POST": "/api/show", "DELETE": "/api/delete", "GET": "/api/tags"}[method]
			for _, chunk := range []int{0, 1000, 1 << 20} {
				if chunk > 0 && chunk < size/1000 || size > 4<<10 && method != "POST" {
					continue // takes long and shows nothing new
				}
				w := s.dial(t)
				if chunk == 0 {
					w.send(method, path, string(body), bearer(s.admin))
				} else {
					w.write("%s\r\n", head(method, path, bearer(s.admin), "Transfer-Encoding: chunked"))
					buffered := bufio.NewWriterSize(w, 64<<10)
					c := httputil.NewChunkedWriter(buffered)
					for part := range slices.Chunk(body, chunk) {
						c.Write(part)
					}
					c.Close()
					buffered.WriteString("\r\n")
					buffered.Flush()
				}
				got := w.answer(method)
				w.Close()
				requests++
				seen := s.arrival(t, requests)
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

// TestASmallBodyIsAnnouncedByItsLength, also one that came in chunks: it leaves
// in one piece.
func TestASmallBodyIsAnnouncedByItsLength(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	w := s.dial(t)
	w.write("%s\r\n2\r\n{}\r\n0\r\n\r\n", head("POST", "/api/show", bearer(s.key), "Transfer-Encoding: chunked"))
	w.answer("POST")
	if got := s.arrival(t, 1).Header.Get("Content-Length"); got != "2" {
		t.Errorf("Content-Length %q", got)
	}
}

func TestExpectContinueIsAnsweredHere(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	w := s.dial(t)
	w.write("%s\r\n", head("POST", "/api/show", bearer(s.key), "Expect: 100-continue", "Content-Length: 16"))
	if line, err := w.r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	w.r.ReadString('\n')
	w.write(`{"model":"tiny"}`)
	if got := w.answer("POST"); got.status != 200 {
		t.Error(got)
	}
	if seen := s.arrival(t, 1); seen.Header.Get("Expect") != "" || string(seen.Body) != `{"model":"tiny"}` {
		t.Errorf("%v, %q", seen.Header, seen.Body)
	}
}

// TestOneConnectionServesManyRequests on both sides of the proxy.
func TestOneConnectionServesManyRequests(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	w := s.dial(t)
	n := 0
	ask := func(method, path, body string, status int) {
		t.Helper()
		w.send(method, path, body, bearer(s.key))
		if got := w.answer(method); got.status != status || got.err != nil {
			t.Errorf("request %d: %s", n+1, got)
		}
		if status < 500 && status != 405 {
			n++
			s.arrival(t, n)
		}
	}
	for range 3 {
		for _, c := range chats {
			ask("POST", c.path, c.ask("tiny", true), 200)
			ask("POST", c.path, c.ask("tiny", false), 200)
			ask("POST", c.path, c.ask("nope", true), 404)
			ask("POST", c.path, "{", 400)
		}
		ask("HEAD", "/api/tags", "", 200)
		ask("GET", "/", "", 200)
		ask("PUT", "/api/tags", "", 405)
	}
	// The transport lets go of a connection now and then, when Ollama answers
	// faster than it can take note.
	connections := map[string]bool{}
	for _, seen := range s.ollama.Seen() {
		connections[seen.RemoteAddr] = true
	}
	if len(connections) > n/10 {
		t.Errorf("%d requests came on %d connections", n, len(connections))
	}
}

// TestRequestsInOneGo is pipelining: legal, and answered in order.
func TestRequestsInOneGo(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	w := s.dial(t)
	one := head("GET", "/", bearer(s.key)) + "\r\n"
	two := head("GET", "/api/version", bearer(s.key)) + "\r\n"
	w.write("%s", one+two+one)
	for _, want := range []string{"Ollama is running", `{"version":"0.33.0"}`, "Ollama is running"} {
		if got := w.answer("GET"); got.body != want {
			t.Errorf("%q, not %q", got.body, want)
		}
	}
}

// TestAnOldClient speaks HTTP/1.0, and gets no chunks but the text, and a
// close.
func TestAnOldClient(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for _, c := range chats {
		for _, stream := range []bool{true, false} {
			body := c.ask("tiny", stream)
			w := s.dial(t)
			w.write("POST %s HTTP/1.0\r\n%s\r\nContent-Length: %d\r\n\r\n%s", c.path, bearer(s.key), len(body), body)
			got := w.answer("POST")
			if got.status != 200 || got.err != nil || got.header.Get("Transfer-Encoding") != "" || stream != strings.Contains(got.body, c.end) && c.path[:4] == "/v1/" {
				t.Errorf("%s: %s %v", c.path, got, got.header)
			}
			if err := w.end(); err != nil {
				t.Errorf("%s: the connection ended with %v", c.path, err)
			}
		}
	}
}

// TestLeavingStopsOllama: a client that goes away, in whatever way and at
// whatever time, ends the request at Ollama, so that the GPU stops.
func TestLeavingStopsOllama(t *testing.T) {
	t.Parallel()
	ways := map[string]func(w *wire){
		"FIN":  func(w *wire) { w.Close() },
		"RST":  func(w *wire) { w.SetLinger(0); w.Close() },
		"half": func(w *wire) { w.CloseWrite() },
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
				s := start(t, config{})
				for i, chat := range chats {
					w := s.dial(t)
					w.send("POST", chat.path, chat.ask(c.model, c.stream), bearer(s.key))
					seen := s.arrival(t, i+1)
					if c.begun {
						w.begun("POST")
					}
					left := time.Now()
					leave(w)
					await(t, seen.Gone, "Ollama to notice")
					t.Logf("%s: Ollama noticed after %v", chat.path, time.Since(left).Round(time.Microsecond))
					if code := s.spy.ended(t, i+1); code != 499 {
						t.Errorf("%s: recorded as %d", chat.path, code)
					}
					if how == "half" {
						io.Copy(io.Discard, w.r)
						if raw := w.raw.String(); strings.HasSuffix(raw, "0\r\n\r\n") || strings.Contains(raw, "broke off") || !c.begun && raw != "" {
							t.Errorf("%s: a client that has closed its half got %q", chat.path, raw)
						}
					}
				}
				for _, outcome := range s.spy.texts("StreamEnded") {
					if outcome != "client_gone" {
						t.Errorf("a stream's end was recorded as %s", outcome)
					}
				}
				if failed := s.spy.texts("UpstreamFailed"); len(failed) != 0 {
					t.Errorf("the client's leaving was put down to Ollama: %q", failed)
				}
			})
		}
	}
}

// TestLeavingAnEndlessStream: bytes that are on their way all the time do not
// hide that the client has left.
func TestLeavingAnEndlessStream(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	s := start(t, config{upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		w.Header().Set("Content-Type", "application/x-ndjson")
		for r.Context().Err() == nil {
			io.WriteString(w, "{}\n")
			http.NewResponseController(w).Flush()
		}
	})})
	w := s.dial(t)
	w.send("POST", "/api/chat", "{}", bearer(s.key))
	w.begun("POST")
	w.Close()
	await(t, gone, "Ollama to notice")
	if code := s.spy.ended(t, 1); code != 499 {
		t.Errorf("recorded as %d", code)
	}
	if failed := s.spy.texts("UpstreamFailed"); len(failed) != 0 {
		t.Errorf("put down to Ollama: %q", failed)
	}
}

// TestLeavingUnseen: net/http watches a connection by reading one byte ahead.
// A client that has sent more than its request hides its leaving behind that
// byte; then it is the time limits that end the request at Ollama.
func TestLeavingUnseen(t *testing.T) {
	t.Parallel()
	for _, surplus := range []string{"\r\n", head("GET", "/") + "\r\n"} {
		s := start(t, config{proxy: func(o *options) { o.FirstByteTimeout = ample }})
		w := s.dial(t)
		w.send("POST", "/api/chat", chats[0].ask("hang", true), bearer(s.key))
		seen := s.arrival(t, 1)
		w.write("%s", surplus)
		w.Close()
		await(t, seen.Gone, "Ollama to be let go")
		if code := s.spy.ended(t, 1); code != 499 && code != 504 {
			t.Errorf("recorded as %d", code)
		}
	}
}

// TestLeavingAmidTheUpload: Ollama must never take the part of a body that
// came for the whole.
func TestLeavingAmidTheUpload(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 3 << 20} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d chunked=%t", size, chunked), func(t *testing.T) {
				t.Parallel()
				s := start(t, config{})
				w := s.dial(t)
				half := text(size / 2)
				if chunked {
					w.write("%s\r\n%x\r\n%s\r\n", head("POST", "/api/chat", bearer(s.key), "Transfer-Encoding: chunked"), len(half), half)
				} else {
					w.write("%s\r\n%s", head("POST", "/api/chat", bearer(s.key), fmt.Sprint("Content-Length: ", size)), half)
				}
				for n := 1; s.spy.sum("Uploaded") < len(half); n++ {
					s.spy.await(t, "Uploaded", n)
				}
				w.Close()
				if code := s.spy.ended(t, 1); code != 499 {
					t.Errorf("recorded as %d", code)
				}
				if len(half) > 1<<20 {
					await(t, s.arrival(t, 1).Gone, "Ollama to notice")
				} else {
					s.nothingArrived(t)
				}
			})
		}
	}
}

// TestOllamaComesBack: connections that died with an old Ollama do not fail
// the first requests to the new one.
func TestOllamaComesBack(t *testing.T) {
	t.Parallel()
	l := listen(t)
	address := l.Addr().String()
	serve := func() *httptest.Server {
		o := httptest.NewUnstartedServer(unwatched(standin.New(standin.Options{})))
		o.Listener.Close()
		o.Listener = l
		o.Start()
		return o
	}
	old := serve()
	s := start(t, config{address: address})
	if got := s.ask(t, "POST", "/api/show", `{"model":"tiny"}`); got.status != 200 {
		t.Fatal(got)
	}
	old.Close()
	if got := s.ask(t, "GET", "/api/tags", ""); got.status != 502 {
		t.Errorf("without an Ollama: %s", got)
	}
	l = listenAt(t, address)
	t.Cleanup(serve().Close)
	if got := s.ask(t, "POST", "/api/show", `{"model":"tiny"}`); got.status != 200 {
		t.Errorf("with a new one: %s", got)
	}
}

// TestLinesOfAnySize pass as they are.
func TestLinesOfAnySize(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for _, model := range []string{"big", "long"} {
		for i, c := range chats {
			if model == "long" && i%3 > 0 {
				continue // takes long and shows nothing new
			}
			got := s.ask(t, "POST", c.path, c.ask(model, true))
			if got.err != nil || !strings.Contains(got.body, c.end) {
				t.Errorf("%s %s: %s", c.path, model, got)
			}
			longest := 0
			for line := range strings.Lines(got.body) {
				longest = max(longest, len(line))
			}
			if model == "big" && longest < 300<<10 || model == "long" && strings.Count(got.body, "\n") < 2000 {
				t.Errorf("%s %s: %d lines, the longest of %d bytes", c.path, model, strings.Count(got.body, "\n"), longest)
			}
		}
	}
}

// TestOllamasOwnErrorsPass, status and body, and are not ours to rewrite.
func TestOllamasOwnErrorsPass(t *testing.T) {
	t.Parallel()
	s := start(t, config{})
	for _, c := range chats {
		unnamed := 400
		if c.path == "/api/generate" || c.path == "/v1/completions" {
			unnamed = 404
		}
		for model, status := range map[string]int{"busy": 503, "broken": 500, "nope": 404, "": unnamed} {
			got := s.ask(t, "POST", c.path, c.ask(model, true))
			if got.status != status || got.err != nil || got.header.Get("Retry-After") != "" {
				t.Errorf("%s %s: %s", c.path, model, got)
			}
			if message, _ := errorIn(t, c.path, got.body); strings.Contains(message, "proxy") {
				t.Errorf("%s %s: %q", c.path, model, message)
			}
		}
	}
	if failed := s.spy.texts("UpstreamFailed"); len(failed) != 0 {
		t.Errorf("recorded as failures of the relay: %q", failed)
	}
	s.spy.ended(t, len(chats)*4)
	if refused := s.spy.texts("Refused"); len(refused) != 0 {
		t.Errorf("recorded as refusals: %q", refused)
	}
}
