package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// begin sends a request but for the last byte of its body, and waits until the
// proxy has all of that.
func beginRequest(s *handlertest.Site, t *testing.T, path, body string, headers ...string) *handlertest.Wire {
	t.Helper()
	uploaded := s.Spy.Sum("Uploaded")
	w := s.Dial(t)
	w.Writef("%s\r\n%s", handlertest.Head("POST", path, append(headers, handlertest.Bearer(s.Key), fmt.Sprint("Content-Length: ", len(body)))...), body[:len(body)-1])
	for s.Spy.Sum("Uploaded") < uploaded+len(body)-1 {
		s.Spy.Await(t, "Uploaded", len(s.Spy.All("Uploaded"))+1)
	}
	return w
}

// TestMemoryOfBodiesIsLimited: bodies that take all the memory, and never end, keep out
// no body that can be relayed as it arrives. Other requests get 503 with Retry-After.
func TestMemoryOfBodiesIsLimited(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{MaxBodyMemory: 1 << 20})
	body := func(size int) string {
		const start, end = `{"model":"tiny","messages":[{"role":"user","content":"`, `"}]}`
		return start + strings.Repeat("a", size-len(start+end)) + end
	}
	random := make([]byte, 100<<10)
	rand.NewChaCha8([32]byte{}).Read(random)
	form := "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ntiny\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n" + string(random) + "\r\n--x--\r\n"
	const formType = "Content-Type: multipart/form-data; boundary=x"
	packed := handlertest.CompressWideWindow(t, body(1<<10)+string(random)) // what comes behind the JSON is no matter

	first := beginRequest(s, t, "/v1/chat/completions", body(1<<20))
	if took := s.Proxy.BodyMemory(); took < 1<<20-16<<10 || took > 1<<20 {
		t.Errorf("a body of 1 MiB takes %d bytes", took)
	}
	// There are 16 KiB left.
	small, large := beginRequest(s, t, "/v1/chat/completions", body(16<<10)), beginRequest(s, t, "/v1/chat/completions", body(100<<10))
	for _, c := range []struct{ path, body, header string }{
		{"/v1/audio/transcriptions", form, formType}, {"/v1/chat/completions", packed, handlertest.Compressed}, {"/v1/messages", packed, handlertest.Compressed},
	} {
		got := s.Ask(t, "POST", c.path, c.body, c.header)
		if message, _ := handlertest.ErrorIn(t, c.path, got.Body); got.Status != 503 || got.Header.Get("Retry-After") != "1" || message != "too many large requests at once, try again" {
			t.Errorf("%s: %s %v %q", c.path, got, got.Header, got.Body)
		}
	}
	s.Spy.Await(t, "Refused", 3)
	if reasons := s.Spy.Texts("Refused"); strings.Join(reasons, " ") != "overload overload overload" {
		t.Errorf("recorded as %q", reasons)
	}
	s.Spy.Await(t, "Forwarded", 1) // the one that is passed on as it comes
	for i, c := range []struct {
		*handlertest.Wire
		size int
	}{{large, 100 << 10}, {small, 16 << 10}, {first, 1 << 20}} {
		c.Writef("}")
		if got := c.Answer("POST"); got.Status != 200 || got.Err != nil {
			t.Errorf("%d bytes: %s %s", c.size, got, got.Body)
		}
		if seen := s.AwaitRequest(t, i+1); seen.BodySum != sha256.Sum256([]byte(body(c.size))) {
			t.Errorf("%d bytes arrived as %d", c.size, seen.BodyLen)
		}
	}
	s.Spy.Idle(t)
	if n := len(s.Ollama.Seen()); n != 3 {
		t.Errorf("%d requests reached Ollama", n)
	}
	if took := s.Proxy.BodyMemory(); took != 0 {
		t.Errorf("afterwards bodies take %d bytes", took)
	}
	if got := s.Ask(t, "POST", "/v1/audio/transcriptions", form, formType); got.Status == 503 {
		t.Errorf("afterwards: %s", got)
	}
}

// TestBodyIsReleased: once Ollama has it, since the answer may take long.
func TestBodyIsReleased(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{Ollama: standin.Options{Step: step}})
	for _, size := range []int{50 << 10, 1<<20 + 1<<10} { // in memory, and only its beginning
		w := s.Dial(t)
		body := handlertest.Chats[0].Ask("tiny", true)
		body += strings.Repeat(" ", size-len(body))
		w.Writef("%s\r\n%x\r\n%s\r\n0\r\n\r\n", handlertest.Head("POST", handlertest.Chats[0].Path, handlertest.Bearer(s.Key), "Transfer-Encoding: chunked"), size, body)
		res := w.ReadHead("POST")
		for until := time.Now().Add(handlertest.Timeout); s.Proxy.BodyMemory() != 0 && time.Now().Before(until); {
			runtime.Gosched() // Ollama may have it before the proxy has noticed
		}
		if took := s.Proxy.BodyMemory(); took != 0 {
			t.Errorf("during the answer a body of %d bytes takes %d", size, took)
		}
		go func() {
			for range 1000 {
				select {
				case step <- struct{}{}:
				case <-s.Ollama.Seen()[len(s.Ollama.Seen())-1].Done:
					return
				}
			}
		}()
		if text, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(text), handlertest.Chats[0].End) {
			t.Errorf("%d bytes: %q, %v", size, tailOf(string(text)), err)
		}
	}
}
