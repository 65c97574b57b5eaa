package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

var (
	truncated = blame{502, "upstream_error", "truncated"}
	reported  = blame{502, "upstream_error", "reported"}
)

const endedEarly = "Ollama ended its answer before it was whole"

// asked asks with a key of the site's and returns the answer with the connection,
// which is still open if the answer is whole.
func askedFor(s *handlertest.Site, t *testing.T, path, body string) (handlertest.Answer, *handlertest.Wire) {
	t.Helper()
	w := s.Dial(t)
	w.Send("POST", path, body, handlertest.Bearer(s.Admin))
	return w.Answer("POST"), w
}

// cleanEnds are the ways in which Ollama ends a stream cleanly that is not whole,
// and on which routes it then says so itself.
var cleanEnds = map[string]func(path string) bool{
	"repeat":        func(string) bool { return false },
	"runner-killed": func(path string) bool { return strings.HasPrefix(path, "/api/") },
	"error-event":   func(string) bool { return true },
}

var changes = []handlertest.Chat{
	{Path: "/api/pull", Body: `{"model":%q,"stream":%t}`, End: "success"},
	{Path: "/api/push", Body: `{"model":%q,"stream":%t}`, End: "success"},
	{Path: "/api/create", Body: `{"model":%q,"stream":%t,"from":"tiny"}`, End: "success"},
}

// TestStreamsWithoutTheirLastWord: the proxy adds an error event and breaks the
// connection off. An error that Ollama itself sends is relayed unchanged.
func TestStreamsWithoutTheirLastWord(t *testing.T) {
	t.Parallel()
	for _, c := range append(changes, handlertest.Chats...) {
		for model, says := range cleanEnds {
			t.Run(model+c.Path, func(t *testing.T) {
				t.Parallel()
				s := handlertest.Start(t, handlertest.Config{})
				direct, err := http.Post("http://"+s.Upstream+c.Path, "application/json", strings.NewReader(c.Ask(model, true)))
				if err != nil {
					t.Fatal(err)
				}
				defer direct.Body.Close()
				sent, err := io.ReadAll(direct.Body)
				if direct.StatusCode != 200 || err != nil || strings.Contains(string(sent), c.End) {
					t.Fatalf("Ollama sent %s %q, %v", direct.Status, tailOf(string(sent)), err)
				}

				w := s.Dial(t)
				w.Send("POST", c.Path, c.Ask(model, true), handlertest.Bearer(s.Admin))
				res := w.ReadHead("POST")
				if says(c.Path) {
					body, err := io.ReadAll(res.Body)
					if sameButTimes(string(body)) != sameButTimes(string(sent)) || err != nil || res.StatusCode != 200 {
						t.Errorf("%s %v: the client got %q, Ollama sent %q", res.Status, err, tailOf(string(body)), tailOf(string(sent)))
					}
					blames(s, t, reported, true)
					w.Send("GET", "/api/version", "", handlertest.Bearer(s.Key))
					if got := w.Answer("GET"); got.Status != 200 {
						t.Errorf("the connection was not kept: %s", got)
					}
				} else {
					body := brokenOff(t, w, handlertest.Chat{End: c.End}, res)
					if message := errorEvent(t, c.Path, body); message != endedEarly {
						t.Errorf("the client reads %q", message)
					}
					blames(s, t, truncated, true)
				}
				line := s.AccessLog(t, 1)[0]
				if reason, _ := line["error"].(string); !strings.HasPrefix(reason, "the stream ended with") {
					t.Errorf("the log says %q", reason)
				}
				whole := s.Ask(t, "POST", c.Path, c.Ask(model, false))
				if c.End != "success" && (whole.Err != nil || strings.Contains(whole.Body, endedEarly)) {
					t.Errorf("in one piece: %s %q", whole, whole.Body)
				}
			})
		}
	}
}

// sameButTimes takes out of an answer what differs from one request to the next.
func sameButTimes(body string) string {
	for _, mark := range []string{`"created_at":"`, `"created":`, `"created_at":`, `"id":"`, `"item_id":"`, `"request_id":"`} {
		parts := strings.Split(body, mark)
		for i := range parts[1:] {
			if end := strings.IndexAny(parts[i+1], `,}`); end >= 0 {
				parts[i+1] = parts[i+1][end:]
			}
		}
		body = strings.Join(parts, "")
	}
	return body
}

// TestAnswersThatNeedNoLastWord: those of unknown form, and those that are not a
// success.
func TestAnswersThatNeedNoLastWord(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, head, body string
	}{
		"an error":           {"/api/chat", "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/x-ndjson\r\n", "{}\n"},
		"an error in events": {"/v1/messages", "HTTP/1.1 529 Busy\r\nContent-Type: text/event-stream\r\n", "event: x\ndata: {}\n\n"},
		"compressed lines":   {"/api/chat", okLines + "Content-Encoding: gzip\r\n", "\x1f\x8b..\n"},
		"compressed events":  {"/v1/responses", okEvents + "Content-Encoding: zstd\r\n", "(\xb5/\xfd..\n"},
		"transcriptions":     {"/v1/audio/transcriptions", okEvents, "data: {}\n\n"},
		"embeddings":         {"/api/embed", okLines, "{}\n"},
		"copy":               {"/api/copy", okLines, "{}\n"},
		"one piece":          {"/api/chat", okJSON, `{"done":false}`},
		"another form":       {"/v1/chat/completions", okLines, "{}\n"},
		"plain text":         {"/api/generate", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n", "hello\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{Address: handlertest.Scripted(t, func(conn *net.TCPConn, r *http.Request) {
				fmt.Fprintf(conn, "%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", c.head, len(c.body), c.body)
			})})
			ask := `{"model":"tiny","source":"tiny","destination":"x"}`
			w := s.Dial(t)
			if c.path == "/v1/audio/transcriptions" {
				w.Send("POST", c.path, "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ntiny\r\n--b--\r\n", handlertest.Bearer(s.Admin), "Content-Type: multipart/form-data; boundary=b")
			} else {
				w.Send("POST", c.path, ask, handlertest.Bearer(s.Admin))
			}
			got := w.Answer("POST")
			if got.Body != c.body || got.Err != nil {
				t.Errorf("%s %q", got, got.Body)
			}
			s.Spy.Ended(t, 1)
			if failed := s.Spy.Texts("UpstreamFailed"); len(failed) != 0 {
				t.Errorf("recorded as %q", failed)
			}
		})
	}
}

// TestStreamOfKnownLength: it needs its last word even if it has the announced length.
func TestStreamOfKnownLength(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body  string
		whole bool
	}{
		{"", false}, {"data: {}\n\n", false}, {"data: {", false}, {"data: {}\n\ndata: [DONE]\n\n", true},
	} {
		s := handlertest.Start(t, handlertest.Config{Address: handlertest.Scripted(t, func(conn *net.TCPConn, r *http.Request) {
			fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", okEvents, len(c.body), c.body)
		})})
		got, _ := askedFor(s, t, "/v1/completions", `{"model":"tiny","stream":true}`)
		if got.Status != 200 || (got.Err == nil) != c.whole || !strings.HasPrefix(got.Body, c.body) ||
			strings.Contains(got.Body, endedEarly) != (!c.whole && !strings.HasSuffix(c.body, "{")) {
			t.Errorf("%q became %s %q", c.body, got, got.Body)
		}
	}
}

// TestStreamsOfOtherServers: servers other than Ollama end their streams with the same
// last words in other forms.
func TestStreamsOfOtherServers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, body, kind string
	}{
		"vLLM":                {"/v1/chat/completions", `data: {"id":"c","choices":[{"delta":{"content":"a"}}]}` + "\n\n" + `data: {"id":"c","choices":[],"usage":{"prompt_tokens":1}}` + "\n\ndata: [DONE]\n\n", ""},
		"vLLM, an error":      {"/v1/chat/completions", `data: {"id":"c","choices":[]}` + "\n\n" + `data: {"error": {"message": "x", "type": "Internal", "code": 500}}` + "\n\ndata: [DONE]\n\n", "reported"},
		"vLLM, messages":      {"/v1/messages", "event: message_start\ndata: {\"type\":\"message_start\"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\ndata: [DONE]\n\n", ""},
		"CRLF":                {"/v1/completions", ": ping\r\n\r\ndata: {}\r\n\r\ndata: [DONE]\r\n\r\n: ping\r\n\r\n", ""},
		"llama.cpp":           {"/v1/chat/completions", `data:{"choices":[]}` + "\n\n:\n\ndata:[DONE]\n\n", ""},
		"llama.cpp, an error": {"/v1/responses", "event: response.created\n" + `data: {"type":"response.created"}` + "\n\n" + `data: {"error":{"code":500,"message":"x"}}` + "\n\n", "reported"},
		"a limit":             {"/v1/responses", "event: response.incomplete\n" + `data: {"type":"response.incomplete","response":{}}` + "\n\n", ""},
		"no names":            {"/v1/responses", `data: {"type":"response.completed","response":{}}` + "\n\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
				for _, b := range []byte(c.body) {
					w.Write([]byte{b})
					http.NewResponseController(w).Flush()
				}
			})})
			if got := s.Ask(t, "POST", c.path, `{"model":"tiny","stream":true}`); got.Body != c.body || got.Err != nil {
				t.Errorf("%s %q", got, got.Body)
			}
			if c.kind == "" {
				blames(s, t, blame{200, "complete", ""}, true)
			} else {
				blames(s, t, blame{502, "upstream_error", c.kind}, true)
			}
		})
	}
}

// TestTruncatedAnswerInOtherProtocols: over HTTP/1.0, where the end of the connection is
// the end of the answer, the connection is reset; over HTTP/2 the stream is.
func TestTruncatedAnswerInOtherProtocols(t *testing.T) {
	t.Parallel()
	c := handlertest.Chats[2]
	s := handlertest.Start(t, handlertest.Config{})
	w := s.Dial(t)
	body := c.Ask("repeat", true)
	w.Writef("POST %s HTTP/1.0\r\n%s\r\nContent-Length: %d\r\n\r\n%s", c.Path, handlertest.Bearer(s.Key), len(body), body)
	got := w.Answer("POST")
	if message := errorEvent(t, c.Path, got.Body); message != endedEarly || got.Err == nil {
		t.Errorf("HTTP/1.0: %s %q", got, message)
	}

	secure, _ := startSecure(t, handlertest.Config{})
	h := dialH2(secure, t)
	h.head(1, false, ":method: POST", ":scheme: https", ":path: "+c.Path, ":authority: x", "authorization: Bearer "+secure.Key)
	h.body(1, true, body)
	var read strings.Builder
	for {
		f, err := h.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := f.(*http2.DataFrame); ok {
			read.Write(data.Data())
			if data.StreamEnded() {
				t.Error("HTTP/2: the stream ends well")
				break
			}
		}
		if _, ok := f.(*http2.RSTStreamFrame); ok {
			break
		}
	}
	if message := errorEvent(t, c.Path, read.String()); message != endedEarly {
		t.Errorf("HTTP/2: %q", message)
	}
	blames(secure, t, truncated, true)
}

// TestPullFromSeveralOllamas: the merged stream has a last word of its own, and an
// Ollama whose stream ends without one counts as failed.
func TestPullFromSeveralOllamas(t *testing.T) {
	t.Parallel()
	one := handlertest.NewBox(t, "one", standin.Options{Models: []string{"tiny", "fresh"}})
	two := handlertest.NewBox(t, "two", standin.Options{Models: []string{"tiny"}})
	s := handlertest.StartPool(t, handlertest.Config{}, one, two)
	for i, c := range []struct {
		ask     string
		outcome string
		code    int
	}{
		{`{"model":"tiny"}`, "complete", 200},
		{`{"model":"fresh"}`, "upstream_error", 502},
		{`{"model":"repeat"}`, "upstream_error", 502},
		{`{"model":"runner-killed"}`, "upstream_error", 502},
	} {
		a := handlertest.AskAdmin(s, t, "POST", "/api/pull", c.ask)
		if a.Status != 200 || a.Err != nil || strings.Contains(a.Body, endedEarly) || strings.HasSuffix(a.Body, `{"status":"success"}`+"\n") != (c.code == 200) {
			t.Errorf("%s: %s %q", c.ask, a, tailOf(a.Body))
		}
		if code := s.Spy.Ended(t, i+1); code != c.code {
			t.Errorf("%s is recorded as %d", c.ask, code)
		}
		if got := s.Spy.Await(t, "StreamEnded", i+1).Text; got != c.outcome {
			t.Errorf("%s is recorded as %s", c.ask, got)
		}
	}
	a := handlertest.AskAdmin(s, t, "POST", "/api/create", `{"model":"repeat","from":"tiny"}`, handlertest.UpstreamHeader+": two")
	if a.Err == nil || errorEvent(t, "/api/create", a.Body) != endedEarly {
		t.Errorf("%s %q", a, tailOf(a.Body))
	}
}

// TestErrorAfterAHeartbeatKeepsTheConnection: the error event completes the answer. An
// answer that breaks off later does not keep it.
func TestErrorAfterAHeartbeatKeepsTheConnection(t *testing.T) {
	t.Parallel()
	for _, c := range handlertest.Chats[2:] {
		t.Run(c.Path, func(t *testing.T) {
			t.Parallel()
			step := make(chan struct{})
			s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-step
				switch r.Header.Get("X-Fault") {
				case "error":
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(500)
					io.WriteString(w, `{"error":{"message":"model runner has crashed"}}`)
				case "reset":
					panic(http.ErrAbortHandler)
				case "truncated":
					w.Header().Set("Content-Type", "text/event-stream")
					io.WriteString(w, "data: {}\n\n")
				}
			}), Proxy: func(o *handler.Options) { o.Heartbeat = 1 }})
			w := s.Dial(t)
			for fault, want := range map[string]string{"error": "model runner has crashed", "reset": "Ollama broke off its answer"} {
				w.Send("POST", c.Path, c.Ask("tiny", true), handlertest.Bearer(s.Key), "X-Fault: "+fault)
				res := w.ReadHead("POST") // with the first beat
				step <- struct{}{}
				body, err := io.ReadAll(res.Body)
				if message := errorEvent(t, c.Path, string(body)); message != want || err != nil {
					t.Errorf("%s: %q, %v", fault, message, err)
				}
			}
			w.Send("POST", c.Path, c.Ask("tiny", true), handlertest.Bearer(s.Key), "X-Fault: truncated")
			res := w.ReadHead("POST")
			step <- struct{}{}
			if message := errorEvent(t, c.Path, brokenOff(t, w, c, res)); message != endedEarly {
				t.Errorf("%q", message)
			}
			for i := range 3 {
				if code := s.Spy.Ended(t, i+1); code != 502 {
					t.Errorf("recorded as %d", code)
				}
			}
		})
	}
}

// TestLeavingAfterOllamasError: many clients close the connection as soon as they have
// read an error, and it counts as Ollama's failure all the same.
func TestLeavingAfterOllamasError(t *testing.T) {
	t.Parallel()
	const event = "data: {\"error\":{\"message\":\"unexpected EOF\"}}\n\n"
	s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, event)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})})
	w := s.Dial(t)
	w.Send("POST", "/v1/chat/completions", `{"model":"tiny","stream":true,"messages":[]}`, handlertest.Bearer(s.Key))
	res := w.ReadHead("POST")
	if _, err := io.ReadFull(res.Body, make([]byte, len(event))); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if code := s.Spy.Ended(t, 1); code != http.StatusBadGateway {
		t.Errorf("it counts as %d", code)
	}
	if kinds := s.Spy.Texts("UpstreamFailed"); !slices.Equal(kinds, []string{"reported"}) {
		t.Errorf("Ollama's failures are %q", kinds)
	}
}
