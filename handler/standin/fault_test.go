package standin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// each runs a test for a misbehaving model in all dialects, streamed and whole.
func each(t *testing.T, s *standinServer, model string, f func(t *testing.T, w *wire, d dialect, stream bool)) {
	for _, d := range dialects {
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s%s stream=%t", model, d.path, stream), func(t *testing.T) {
				w := dial(t, s.Server)
				w.send("POST", d.path, d.ask(model, stream))
				f(t, w, d, stream)
			})
		}
	}
}

func TestConnectionDiesBeforeTheHead(t *testing.T) {
	t.Parallel()
	s := serve(t)
	each(t, s, "reset", func(t *testing.T, w *wire, _ dialect, _ bool) {
		if b, err := io.ReadAll(w.r); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q, %v", b, err)
		}
	})
	each(t, s, "close", func(t *testing.T, w *wire, _ dialect, _ bool) {
		if b, err := io.ReadAll(w.r); len(b) != 0 || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
	each(t, s, "garbage", func(t *testing.T, w *wire, _ dialect, _ bool) {
		if b, err := io.ReadAll(w.r); len(b) == 0 || strings.HasPrefix(string(b), "HTTP/") || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
	each(t, s, "switch", func(t *testing.T, w *wire, _ dialect, _ bool) {
		if r := w.head(); r.StatusCode != http.StatusSwitchingProtocols {
			t.Error(r.Status)
		}
	})
}

func TestHangSendsNothing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := 0
	each(t, s, "hang:7b", func(t *testing.T, w *wire, _ dialect, _ bool) {
		n++
		seen := s.await(t, n)
		if seen.Model != "hang:7b" {
			t.Errorf("model %q", seen.Model)
		}
		w.CloseWrite() // half a close is enough for Ollama to stop, and lets the test see that nothing came
		<-seen.Gone
		<-seen.Done
		if b, err := io.ReadAll(w.r); len(b) != 0 || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
}

func TestHangMidway(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := 0
	each(t, s, "hang-mid", func(t *testing.T, w *wire, d dialect, stream bool) {
		n++
		seen := s.await(t, n)
		head := w.head()
		if stream {
			for range 2 {
				if _, err := w.chunk(); err != nil {
					t.Fatal(err)
				}
			}
		} else if _, err := io.CopyN(io.Discard, w.r, head.ContentLength/2); err != nil {
			t.Fatal(err)
		}
		w.CloseWrite()
		<-seen.Gone
		<-seen.Done
		if b, _ := io.ReadAll(w.r); len(b) != 0 {
			t.Errorf("then %q", b)
		}
	})
}

func TestDiesMidway(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, model := range []string{"dies-mid-line", "dies-between", "short"} {
		each(t, s, model, func(t *testing.T, w *wire, d dialect, stream bool) {
			head := w.head()
			if !stream {
				if b, err := io.ReadAll(w.r); err != nil || int64(len(b)) != head.ContentLength/2 {
					t.Errorf("%d of %d, %v", len(b), head.ContentLength, err)
				}
				return
			}
			chunks, err := w.chunks()
			if err != io.ErrUnexpectedEOF {
				t.Errorf("ended with %v", err)
			}
			want := 2
			if model == "dies-mid-line" {
				want = 3
			}
			if len(chunks) != want || strings.HasSuffix(chunks[len(chunks)-1], "\n") != (want == 2) {
				t.Errorf("%q", chunks)
			}
		})
	}
}

func TestSilentEndings(t *testing.T) {
	t.Parallel()
	s := serve(t)
	each(t, s, "repeat", func(t *testing.T, w *wire, d dialect, stream bool) {
		if !stream {
			return
		}
		w.head()
		chunks, err := w.chunks()
		all := strings.Join(chunks, "")
		if err != io.EOF || len(chunks) < 31 {
			t.Fatalf("%d chunks, %v", len(chunks), err)
		}
		for _, end := range []string{d.end, `"done":true`, `"finish_reason":"`, "_stop", "eval_count", `"error":"`, `"error":{`} {
			if strings.Contains(all, end) {
				t.Errorf("has %s: %s", end, all)
			}
		}
	})
	each(t, s, "runner-killed", func(t *testing.T, w *wire, d dialect, stream bool) {
		head := w.head()
		if !stream {
			if head.StatusCode != 500 {
				t.Error(head.Status)
			}
			return
		}
		chunks, err := w.chunks()
		if err != io.EOF || strings.Contains(strings.Join(chunks, ""), d.end) {
			t.Fatalf("%q, %v", chunks, err)
		}
		last := chunks[len(chunks)-1]
		switch d.path {
		case "/api/chat", "/api/generate":
			if message, _ := parse(t, last)["error"].(string); !strings.HasSuffix(message, "unexpected EOF") {
				t.Error(last)
			}
		case "/v1/chat/completions", "/v1/completions":
			if !strings.Contains(last, `"model":""`) {
				t.Error(last)
			}
		default:
			if !strings.Contains(last, "delta") {
				t.Error(last)
			}
		}
	})
}

// TestErrorsInTheStream: the stream ends cleanly, and its last line or event is an error in its dialect.
func TestErrorsInTheStream(t *testing.T) {
	t.Parallel()
	s := serve(t)
	each(t, s, "error-event", func(t *testing.T, w *wire, d dialect, stream bool) {
		head := w.head()
		if !stream {
			if head.StatusCode != 500 {
				t.Error(head.Status)
			}
			return
		}
		chunks, err := w.chunks()
		if err != io.EOF || strings.Contains(strings.Join(chunks, ""), d.end) {
			t.Fatalf("%q, %v", chunks, err)
		}
		begins := map[string]string{
			"/v1/chat/completions": `data: {"error":{`, "/v1/completions": `data: {"error":{`,
			"/v1/messages": "event: error\ndata: ", "/v1/responses": "event: response.failed\ndata: ",
		}
		last := chunks[len(chunks)-1]
		begin, ok := begins[d.path]
		if !ok {
			begin = `{"error":"`
		}
		if !strings.HasPrefix(last, begin) || !strings.Contains(last, "unexpected EOF") || strings.HasSuffix(last, "\n\n") != ok {
			t.Error(last)
		}
	})
}

func TestErrorStatuses(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for model, status := range map[string]int{"busy": 503, "broken": 500} {
		each(t, s, model, func(t *testing.T, w *wire, d dialect, _ bool) {
			if r := w.head(); r.StatusCode != status {
				t.Error(r.Status)
			}
		})
	}
	if _, body := exchange(t, s.Server, "POST", "/api/chat", `{"model":"busy"}`); body !=
		`{"error":"server busy, please try again.  maximum pending requests exceeded"}` {
		t.Error(body)
	}
}

func TestHugeHeader(t *testing.T) {
	t.Parallel()
	s := serve(t)
	r, body := exchange(t, s.Server, "POST", "/v1/chat/completions", dialects[2].ask("huge-header", false))
	if n := len(r.Header.Get("X-Huge")); n != 2<<20 || !strings.Contains(body, "Hello") {
		t.Errorf("%d bytes, %s", n, body)
	}
}

func TestLongAndBig(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, d := range dialects[1:3] {
		_, body := exchange(t, s.Server, "POST", d.path, d.ask("long", true))
		sep := "\n"
		if !strings.HasPrefix(d.path, "/api/") {
			sep = "\n\n"
		}
		if n := strings.Count(body, sep); n < 2001 || n > 2002 || !strings.Contains(body, d.end) {
			t.Errorf("%s: %d lines", d.path, n)
		}
		w := dial(t, s.Server)
		w.send("POST", d.path, d.ask("big", true))
		w.head()
		if c, err := w.chunk(); len(c) < 300<<10 || err != nil {
			t.Errorf("%s: first chunk of %d bytes, %v", d.path, len(c), err)
		}
	}
}

// The rest of the body is never sent, so an answer proves that nobody waited for it.
func TestEarly(t *testing.T) {
	t.Parallel()
	s := serve(t)
	w := dial(t, s.Server)
	fmt.Fprintf(w, "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{\"model\":\"early\",\"messages\":[{")
	if r := w.head(); r.StatusCode != 400 {
		t.Error(r.Status)
	}
	if seen := s.await(t, 1); seen.Model != "early:latest" || seen.BodyLen > 30 {
		t.Errorf("%q, %d bytes", seen.Model, seen.BodyLen)
	}
	// The connection serves on once the body has come after all.
	fmt.Fprint(w, strings.Repeat("x", 100000-30), "GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
	w.r.Discard(w.r.Buffered())
	if r := w.head(); r.StatusCode != 200 {
		t.Error(r.Status)
	}
	w = dial(t, s.Server)
	fmt.Fprintf(w, "POST /api/blobs/x HTTP/1.1\r\nHost: localhost\r\nX-Standin: early\r\nContent-Length: 100000\r\n\r\n")
	if r := w.head(); r.StatusCode != 400 {
		t.Error(r.Status)
	}
}

func TestSlowWaitsForAStep(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	o, server := start(t, standin.Options{Step: step})
	w := dial(t, server)
	w.send("POST", "/api/chat", dialects[0].ask("slow", false))
	if _, err := o.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	step <- struct{}{} // is received only because the answer waits for it
	if r := w.head(); r.StatusCode != 200 {
		t.Error(r.Status)
	}
}

// An answer too short to break off midway breaks off at its end.
func TestShortAnswersBreakOff(t *testing.T) {
	t.Parallel()
	s := serve(t)
	w := dial(t, s.Server)
	w.send("POST", "/api/pull", `{"model":"nope"}`, "X-Standin: repeat")
	w.head()
	if _, err := w.chunks(); err != io.EOF {
		t.Error(err)
	}
	for _, fault := range []string{"dies-between", "dies-mid-line"} {
		w = dial(t, s.Server)
		w.send("POST", "/api/pull", `{"model":"tiny"}`, "X-Standin: "+fault)
		w.head()
		if c, err := w.chunks(); err != io.ErrUnexpectedEOF || len(c) < 2 {
			t.Errorf("%s: %q, %v", fault, c, err)
		}
		w = dial(t, s.Server)
		w.send("POST", "/api/copy", `{"source":"tiny","destination":"x"}`, "X-Standin: "+fault)
		if b, err := io.ReadAll(w.r); len(b) != 0 || err != nil {
			t.Errorf("%s: %q, %v", fault, b, err)
		}
	}
}

func TestHeaderSelectsAFault(t *testing.T) {
	t.Parallel()
	s := serve(t)
	if r, _ := exchange(t, s.Server, "GET", "/api/tags", "", "X-Standin: broken"); r.StatusCode != 500 {
		t.Error(r.Status)
	}
	w := dial(t, s.Server)
	w.send("GET", "/v1/models", "", "X-Standin: short")
	head := w.head()
	if b, err := io.ReadAll(w.r); err != nil || int64(len(b)) != head.ContentLength/2 {
		t.Errorf("%d of %d, %v", len(b), head.ContentLength, err)
	}
	if r, _ := exchange(t, s.Server, "GET", "/api/tags", "", "X-Standin: nonsense"); r.StatusCode != 200 {
		t.Error(r.Status)
	}
}

// standinServer is a stand-in and its address.
type standinServer struct {
	*standin.Ollama
	Server *httptest.Server
}

func serve(t *testing.T) *standinServer {
	t.Helper()
	o, s := start(t, standin.Options{})
	return &standinServer{o, s}
}

func (s *standinServer) await(t *testing.T, n int) *standin.Seen {
	t.Helper()
	return await(t, t.Context(), s.Ollama, n)
}

func await(t *testing.T, ctx context.Context, o *standin.Ollama, n int) *standin.Seen {
	t.Helper()
	seen, err := o.Await(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}
