package e2e_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestMaxBody: a body of exactly MaxBody bytes passes. Of a longer one Ollama never gets
// the end.
func TestMaxBody(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{100, 1 << 20, 2 << 20} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.MaxBody = int64(limit) }})
			requests, arrived, refused := 0, 0, 0
			for _, size := range []int{limit - 1, limit, limit + 1, limit + 1<<19} {
				for _, chunked := range []bool{false, true} {
					for _, c := range []handlertest.Chat{handlertest.Chats[0], handlertest.Chats[2], handlertest.Chats[5]} {
						if limit > 100 && c.Path != "/v1/messages" {
							continue // takes long and shows nothing new
						}
						what := fmt.Sprintf("%d bytes to %s, chunked=%t", size, c.Path, chunked)
						body := []byte(c.Ask("tiny", true))
						body = append(body, bytes.Repeat([]byte(" "), max(0, size-len(body)))...)[:size]
						w := s.Dial(t)
						if chunked {
							w.Writef("%s\r\n%x\r\n", handlertest.Head("POST", c.Path, handlertest.Bearer(s.Key), "Transfer-Encoding: chunked"), size)
						} else {
							w.Writef("%s\r\n", handlertest.Head("POST", c.Path, handlertest.Bearer(s.Key), fmt.Sprint("Content-Length: ", size)))
						}
						w.Write(body) // the proxy may have answered and closed before all is written
						if chunked {
							io.WriteString(w, "\r\n0\r\n\r\n")
						}
						got := w.Answer("POST")
						w.Close()
						requests++
						code := s.Spy.Ended(t, requests)
						if size <= limit {
							arrived++
							if seen := s.AwaitRequest(t, arrived); got.Status == 413 || seen.BodySum != sha256.Sum256(body) {
								t.Errorf("%s: %s, %d bytes arrived", what, got, seen.BodyLen)
							}
							continue
						}
						refused++
						if got.Status != 413 || got.Err != nil || code != 413 {
							t.Errorf("%s: %s, recorded as %d", what, got, code)
						}
						message, kind := handlertest.ErrorIn(t, c.Path, got.Body)
						if want := fmt.Sprintf("the request body is larger than the %d bytes allowed here", limit); message != want {
							t.Errorf("%s: %q", what, message)
						}
						if c.Path == "/v1/messages" && kind != "request_too_large" {
							t.Errorf("%s: a %s", what, kind)
						}
						if chunked && limit > 1<<20 { // found out when Ollama has some of it
							arrived++
							seen := s.AwaitRequest(t, arrived)
							handlertest.Await(t, seen.Gone, "Ollama to be let go")
							if seen.BodyLen > int64(limit) {
								t.Errorf("%s: %d bytes arrived", what, seen.BodyLen)
							}
						}
					}
				}
			}
			if n := len(s.Ollama.Seen()); n != arrived {
				t.Errorf("%d requests reached Ollama, not %d", n, arrived)
			}
			if reasons := s.Spy.Texts("Refused"); len(reasons) != refused || !slices.Equal(slices.Compact(reasons), []string{"body"}) {
				t.Errorf("recorded as %q", reasons)
			}
		})
	}
}

// TestBlobsHaveNoLimit: an upload of a model's file may be larger than MaxBody.
func TestBlobsHaveNoLimit(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.MaxBody = 100 }})
	for i, size := range []int{101, 4 << 20} {
		blob := bytes.Repeat([]byte("model"), size/5+1)[:size]
		path := fmt.Sprintf("/api/blobs/sha256:%x", sha256.Sum256(blob))
		w := s.Dial(t)
		w.Send("POST", path, string(blob), handlertest.Bearer(s.Admin))
		if got := w.Answer("POST"); got.Status != 201 {
			t.Errorf("%d bytes: %s %s", size, got, got.Body)
		}
		w.Writef("%s\r\n%x\r\n%s\r\n0\r\n\r\n", handlertest.Head("POST", path, handlertest.Bearer(s.Admin), "Transfer-Encoding: chunked"), size, blob)
		if got := w.Answer("POST"); got.Status != 200 {
			t.Errorf("%d bytes in a chunk: %s %s", size, got, got.Body)
		}
		if seen := s.AwaitRequest(t, 2*i+2); seen.BodySum != sha256.Sum256(blob) || seen.URI != path {
			t.Errorf("%d bytes arrived at %s", seen.BodyLen, seen.URI)
		}
	}
	arrived := len(s.Ollama.Seen())
	if got := s.Ask(t, "POST", "/api/blobs/sha256:00", strings.Repeat("x", 1000)); got.Status != 403 {
		t.Errorf("an ordinary key: %s", got)
	}
	if got := s.Ask(t, "POST", "/api/create", strings.Repeat("x", 1000), "X-Unused: 1"); got.Status != 403 {
		t.Errorf("an ordinary key: %s", got)
	}
	w := s.Dial(t)
	w.Send("POST", "/api/create", strings.Repeat("x", 1000), handlertest.Bearer(s.Admin))
	if got := w.Answer("POST"); got.Status != 413 {
		t.Errorf("another admin route: %s", got)
	}
	if len(s.Ollama.Seen()) != arrived {
		t.Error("a refused request reached Ollama")
	}
}

// TestInvalidFraming: framing that cannot be read is answered 400, before and after the
// upload to Ollama has begun.
func TestInvalidFraming(t *testing.T) {
	t.Parallel()
	megabytes := fmt.Sprintf("%x\r\n%s\r\n", 2<<20, handlertest.BodyOfSize(2<<20))
	for name, body := range map[string]string{
		"no number":      "xyz\r\n{}\r\n0\r\n\r\n",
		"negative":       "-1\r\n{}\r\n0\r\n\r\n",
		"huge":           "fffffffffffffffff\r\n{}\r\n",
		"no line's end":  "2\r\n{}xx0\r\n\r\n",
		"no size":        "\r\n{}\r\n",
		"endless size":   strings.Repeat("0", 8000) + "\r\n",
		"after a while":  megabytes + "xyz\r\n\r\n",
		"between chunks": "1\r\n{\r\nzz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{})
			w := s.Dial(t)
			w.Writef("%s\r\n", handlertest.Head("POST", "/v1/messages", handlertest.Bearer(s.Key), "Transfer-Encoding: chunked"))
			io.WriteString(w, body)
			got := w.Answer("POST")
			if message, kind := handlertest.ErrorIn(t, "/v1/messages", got.Body); got.Status != 400 || message != "the request body cannot be read" || kind != "invalid_request_error" {
				t.Errorf("%s %q", got, got.Body)
			}
			w.ExpectClosed()
			if code := s.Spy.Ended(t, 1); code != 400 {
				t.Errorf("recorded as %d", code)
			}
			if got := s.Spy.Texts("Refused"); !slices.Equal(got, []string{"body"}) {
				t.Errorf("recorded as %q", got)
			}
			if got := s.Spy.Texts("UpstreamFailed"); len(got) != 0 {
				t.Errorf("put down to Ollama: %q", got)
			}
			if len(body) > 1<<20 {
				handlertest.Await(t, s.AwaitRequest(t, 1).Gone, "Ollama to be let go")
			} else {
				s.ExpectNoRequest(t)
			}
		})
	}
}

// TestNoRequestHidesInAnother: framing that two servers could read in two ways is
// refused, or made unambiguous. Ollama must see one request at most.
func TestNoRequestHidesInAnother(t *testing.T) {
	t.Parallel()
	const hidden = "DELETE /api/delete HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n{\"model\":\"tiny\"}"
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)
	for name, request := range map[string]string{
		"both framings":       "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"two lengths":         "Content-Length: 0\r\nContent-Length: 107\r\n\r\n" + hidden,
		"a list of lengths":   "Content-Length: 0, 107\r\n\r\n" + hidden,
		"a signed length":     "Content-Length: +0\r\n\r\n" + hidden,
		"chunked, identity":   "Transfer-Encoding: chunked, identity\r\n\r\n" + chunked,
		"identity":            "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n" + hidden,
		"xchunked":            "Transfer-Encoding: xchunked\r\n\r\n" + chunked,
		"two codings":         "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunked,
		"a space before":      "Transfer-Encoding : chunked\r\n\r\n" + chunked,
		"a folded line":       "Transfer-Encoding:\r\n chunked\r\n\r\n" + chunked,
		"a bare LF":           "X: y\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + hidden,
		"a NUL":               "X: \x00\r\nContent-Length: 0\r\n\r\n" + hidden,
		"chunk extensions":    "Transfer-Encoding: chunked\r\n\r\n0;x=\"\r\n\r\n\"\r\n\r\n" + hidden,
		"a bare LF in chunks": "Transfer-Encoding: chunked\r\n\r\n0\n\n" + hidden,
		"trailers":            "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 107\r\n\r\n" + hidden,
		"a body in a body":    fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(hidden), hidden),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{})
			w := s.Dial(t)
			w.Writef("POST /api/show HTTP/1.1\r\nHost: x\r\n%s\r\n%s", handlertest.Bearer(s.Admin), request)
			w.CloseWrite()
			io.Copy(io.Discard, w.R)
			s.Spy.Idle(t)
			for _, seen := range s.Ollama.Seen() {
				if seen.URI != "/api/show" || seen.Method != "POST" {
					t.Errorf("%s %s reached Ollama", seen.Method, seen.URI)
				}
			}
		})
	}
}

// TestAnswerBeforeTheBodyEnds: Ollama may refuse a request before it has read the body.
// The client gets that answer, also if it only reads once it has sent the whole body.
func TestAnswerBeforeTheBodyEnds(t *testing.T) {
	t.Parallel()
	const first = `{"model":"early","prompt":"`
	for name, framing := range map[string]string{"length": "Content-Length: 3000000", "chunked": "Transfer-Encoding: chunked"} {
		for _, rest := range []string{"sent", "held back"} {
			t.Run(name+" the rest is "+rest, func(t *testing.T) {
				t.Parallel()
				s := handlertest.Start(t, handlertest.Config{})
				w := s.Dial(t)
				w.Writef("%s\r\n", handlertest.Head("POST", "/api/generate", handlertest.Bearer(s.Key), framing))
				part := first + strings.Repeat(" ", 2_900_000-len(first))
				if name == "chunked" {
					part = fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
				}
				io.WriteString(w, part)
				if rest == "sent" {
					end := strings.Repeat(" ", 100_000)
					if name == "chunked" {
						end = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(end), end)
					}
					go io.WriteString(w, end) // into a connection that may be closed by now
				}
				got := w.Answer("POST")
				if got.Status != 400 || got.Err != nil || got.Body != `{"error":"refused before the body was read"}` {
					t.Errorf("%s %q", got, got.Body)
				}
			})
		}
	}
}

// TestUploadFailsAfterTheStreamHasBegun: if an upload turns out to be too long or broken
// once Ollama has begun to answer, the stream ends with one of the known outcomes.
func TestUploadFailsAfterTheStreamHasBegun(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]string{
		"too long": fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 1<<20, strings.Repeat(" ", 1<<20)),
		"broken":   "xyz\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{
				Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					c := http.NewResponseController(w)
					c.EnableFullDuplex()
					w.Header().Set("Content-Type", "application/x-ndjson")
					io.WriteString(w, "{}\n")
					c.Flush()
					io.Copy(io.Discard, r.Body)
					<-r.Context().Done()
				}),
				Proxy: func(o *handler.Options) { o.MaxBody = 3 << 20 },
			})
			w := s.Dial(t)
			w.Writef("%s\r\n%x\r\n%s\r\n", handlertest.Head("POST", "/api/chat", handlertest.Bearer(s.Key), "Transfer-Encoding: chunked"), 5<<19, handlertest.BodyOfSize(5<<19))
			s.Spy.Await(t, "StreamStarted", 1)
			io.WriteString(w, end)
			brokenOff(t, w, handlertest.Chats[0], w.ReadHead("POST"))
			if code := s.Spy.Ended(t, 1); code == 200 {
				t.Error("recorded as 200")
			}
		})
	}
}
