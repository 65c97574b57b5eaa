package standin_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// dialects are the routes that stream an answer, each with a body that fits it.
var dialects = []dialect{
	{"/api/chat", `{"model":%q,"messages":[{"role":"user","content":"hi there"}],"stream":%t}`, `"done":true`},
	{"/api/generate", `{"model":%q,"prompt":"hi there","stream":%t}`, `"done":true`},
	{"/v1/chat/completions", `{"model":%q,"messages":[{"role":"user","content":"hi there"}],"stream":%t}`, "data: [DONE]\n\n"},
	{"/v1/completions", `{"model":%q,"prompt":"hi there","stream":%t}`, "data: [DONE]\n\n"},
	{"/v1/messages", `{"model":%q,"max_tokens":500,"messages":[{"role":"user","content":"hi there"}],"stream":%t}`, `"type":"message_stop"`},
	{"/v1/responses", `{"model":%q,"input":"hi there","stream":%t}`, `"type":"response.completed"`},
}

type dialect struct{ path, body, end string }

func (d dialect) ask(model string, stream bool) string { return fmt.Sprintf(d.body, model, stream) }

func start(t *testing.T, o standin.Options) (*standin.Ollama, *httptest.Server) {
	t.Helper()
	ollama := standin.New(o)
	s := httptest.NewServer(ollama)
	t.Cleanup(s.Close)
	return ollama, s
}

// wire is a connection to a stand-in, without a client that would hide anything.
type wire struct {
	*net.TCPConn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, s *httptest.Server) *wire {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &wire{c.(*net.TCPConn), t, bufio.NewReader(c)}
}

func (w *wire) send(method, target, body string, header ...string) {
	w.t.Helper()
	if !strings.Contains(strings.Join(header, "\n"), "Host:") {
		header = append(header, "Host: localhost")
	}
	_, err := fmt.Fprintf(w, "%s %s HTTP/1.1\r\n%s\r\nContent-Length: %d\r\n\r\n%s",
		method, target, strings.Join(header, "\r\n"), len(body), body)
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) head() *http.Response {
	w.t.Helper()
	var raw strings.Builder
	for !strings.HasSuffix(raw.String(), "\r\n\r\n") {
		line, err := w.r.ReadString('\n')
		if err != nil {
			w.t.Fatalf("after head %q: %v", raw.String(), err)
		}
		raw.WriteString(line)
	}
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw.String())), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// chunk returns the next HTTP chunk, io.EOF after the last, or io.ErrUnexpectedEOF if the connection ended before it.
func (w *wire) chunk() (string, error) {
	line, err := w.r.ReadString('\n')
	if err != nil {
		return "", io.ErrUnexpectedEOF
	}
	var size int
	if _, err := fmt.Sscanf(line, "%x\r\n", &size); err != nil {
		w.t.Fatalf("chunk header %q: %v", line, err)
	}
	data := make([]byte, size+2)
	if _, err := io.ReadFull(w.r, data); err != nil {
		return string(data), io.ErrUnexpectedEOF
	}
	if size == 0 {
		return "", io.EOF
	}
	return string(data[:size]), nil
}

// chunks returns all chunks, and io.EOF if they ended as they should.
func (w *wire) chunks() (all []string, err error) {
	for {
		c, err := w.chunk()
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
}

// exchange sends a request on a connection of its own and returns the answer with its body read.
func exchange(t *testing.T, s *httptest.Server, method, target, body string, header ...string) (*http.Response, string) {
	t.Helper()
	w := dial(t, s)
	w.send(method, target, body, header...)
	r, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%s %s: after %q: %v", method, target, b, err)
	}
	return r, string(b)
}

func parse(t *testing.T, text string) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}
