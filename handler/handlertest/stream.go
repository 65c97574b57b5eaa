package handlertest

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// ReadStepwise reads a streamed answer of a stand-in with standin.Options.Step, until it
// contains end or breaks off. It lets the stand-in send the next chunk only once it has
// read one. It returns the text so far, and the number of chunks before the last.
func ReadStepwise(t *testing.T, body io.Reader, step chan<- struct{}, end string) (text string, chunks int) {
	t.Helper()
	var all strings.Builder
	buffer := make([]byte, 64<<10)
	for {
		n, err := body.Read(buffer)
		all.Write(buffer[:n])
		if err != nil || strings.Contains(all.String(), end) {
			return all.String(), chunks
		}
		chunks++
		select {
		case step <- struct{}{}:
		case <-time.After(Timeout):
			t.Fatalf("after %d chunks Ollama does not go on", chunks)
		}
	}
}

// StartStreaming starts a Site with a status and one request in flight: a chat with
// llama3.2 under a key with the label alice, whose first chunk has been relayed. Finish
// lets the stand-in complete the answer.
func StartStreaming(t *testing.T) (s *Site, key string, finish func()) {
	t.Helper()
	step := make(chan struct{})
	s = Start(t, Config{Ollama: standin.Options{Step: step}, Server: WithStatus})
	s.Spy.Await(t, "UpstreamUp", 1)
	w := s.Dial(t)
	key = s.Mint(false, "label=alice")
	w.Send("POST", "/api/chat", Chats[0].Ask("LLAMA3.2", true), Bearer(key))
	res := w.ReadHead("POST")
	s.Spy.Await(t, "Passed", 1)
	return s, key, func() {
		close(step)
		io.Copy(io.Discard, res.Body)
	}
}

// Do sends a request with the key by net/http's client. The body of the answer is closed
// when the test ends.
func Do(ctx context.Context, t *testing.T, method, url, key, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}
