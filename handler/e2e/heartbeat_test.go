package e2e_test

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

const beat = ": waiting for Ollama\n\n"

// events is an answer of Ollama's in server-sent events.
func events(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {contentType}},
		ContentLength: -1, Body: io.NopCloser(strings.NewReader(body)),
	}
}

// unannounced is a body whose length the request does not say, so that its end
// is seen when it is read.
func unannounced(body string) io.Reader { return struct{ io.Reader }{strings.NewReader(body)} }

// TestHeartbeats: requests that wait for a stream of events get them, until the stream
// begins.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	ends := map[string]string{
		"/v1/responses": `{"type":"response.completed"}`, "/v1/messages": `{"type":"message_stop"}`,
	}
	for name, c := range map[string]struct {
		path, body string
		waits      time.Duration // Ollama
		beats      int
	}{
		"chat":                      {"/v1/chat/completions", `{"model":"tiny","stream":true}`, time.Minute + time.Second, 4},
		"completions":               {"/v1/completions", `{"stream":true,"model":"tiny"}`, 16 * time.Second, 1},
		"responses":                 {"/v1/responses", `{"model":"tiny","STREAM":true}`, 31 * time.Second, 2},
		"messages":                  {"/v1/messages", `{"model":"tiny","stream":false,"stream":true}`, 10*time.Minute - time.Second, 39},
		"Ollama is quick":           {"/v1/messages", `{"model":"tiny","stream":true}`, 14 * time.Second, 0},
		"a whole answer":            {"/v1/chat/completions", `{"model":"tiny","stream":false}`, time.Hour / 5, 0},
		"not said":                  {"/v1/chat/completions", `{"model":"tiny"}`, time.Hour / 5, 0},
		"said elsewhere":            {"/v1/chat/completions", `{"model":"tiny","messages":[{"stream":true}]}`, time.Hour / 5, 0},
		"taken back":                {"/v1/chat/completions", `{"model":"tiny","stream":true,"Stream":false}`, time.Hour / 5, 0},
		"lines, not events":         {"/api/chat", `{"model":"tiny","stream":true}`, time.Hour / 5, 0},
		"lines unless said":         {"/api/generate", `{"model":"tiny"}`, time.Hour / 5, 0},
		"embeddings":                {"/v1/embeddings", `{"model":"tiny","stream":true}`, time.Hour / 5, 0},
		"a body of more than 1 MiB": {"/v1/chat/completions", `{"prompt":"` + strings.Repeat("a", 2<<20) + `","model":"tiny","stream":true}`, 16 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := fmt.Sprintf("data: {}\n\ndata: %s\n\n", cmp.Or(ends[c.path], "[DONE]"))
			synctest.Test(t, func(t *testing.T) {
				got, spy := bubbleAt(t, c.path, 15*time.Second, unannounced(c.body), func(r *http.Request) (*http.Response, error) {
					consume(r)
					time.Sleep(c.waits)
					return events(200, "text/event-stream", whole), nil
				})
				if want := strings.Repeat(beat, c.beats) + whole; got.Status != 200 || got.Body != want || got.Err != nil {
					t.Errorf("%s %q, want %q", got, got.Body, want)
				}
				if got.Header.Get("Content-Type") != "text/event-stream" || got.Header.Get("X-Accel-Buffering") != "no" {
					t.Errorf("%v", got.Header)
				}
				if first := spy.All("FirstByte")[0].Took; first != c.waits {
					t.Errorf("Ollama's first byte is said to come after %v", first)
				}
				if n := spy.Sum("Passed"); n != len(whole) {
					t.Errorf("%d bytes of Ollama's were counted, of %d", n, len(whole))
				}
				if n := len(spy.All("StreamStarted")); n != 1 {
					t.Errorf("%d streams", n)
				}
			})
		})
	}
}

// TestNoHeartbeatBeforeTheBodyEnds: before its end it is not known whether the body asks
// for a stream, and an early answer would end the upload.
func TestNoHeartbeatBeforeTheBodyEnds(t *testing.T) {
	t.Parallel()
	const stop = "event: message_stop\ndata: {}\n\n"
	synctest.Test(t, func(t *testing.T) {
		got, _ := bubbleAt(t, "/v1/messages", 15*time.Second, drip(`{"model":"tiny","stream":true}`, time.Minute), func(r *http.Request) (*http.Response, error) {
			consume(r)
			return events(200, "text/event-stream", stop), nil
		})
		if got.Body != stop {
			t.Errorf("%q", got.Body)
		}
	})
}

// TestNoHeartbeatsByDefault: they would replace the status of an error of Ollama's.
func TestNoHeartbeatsByDefault(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got, _ := bubbleAt(t, "/v1/messages", 0, strings.NewReader(`{"model":"tiny","stream":true}`), func(r *http.Request) (*http.Response, error) {
			consume(r)
			time.Sleep(14 * time.Minute)
			return events(503, "application/json", `{"error":"busy"}`), nil
		})
		if got.Status != 503 || got.Body != `{"error":"busy"}` {
			t.Errorf("%s %q", got, got.Body)
		}
	})
}

// TestFailuresAfterAHeartbeat: the status is sent already, so an event has the error, in
// the route's dialect. It completes the answer, and the connection stays open, unless
// the exchange was cut.
func TestFailuresAfterAHeartbeat(t *testing.T) {
	t.Parallel()
	type ollama = func(r *http.Request) (*http.Response, error)
	answers := func(res *http.Response) ollama {
		return func(r *http.Request) (*http.Response, error) { return res, nil }
	}
	long := strings.Repeat("x", 100<<10)
	for name, c := range map[string]struct {
		path   string
		ollama ollama
		event  string
		code   int
	}{
		"OpenAI's":    {"/v1/chat/completions", answers(events(500, "application/json", `{"error":{"message":"model runner has crashed","type":"api_error"}}`)), `data: {"error":{"message":"model runner has crashed","type":"api_error","param":null,"code":null}}`, 502},
		"responses":   {"/v1/responses", answers(events(503, "application/json", `{"error":{"message":"busy"}}`)), "event: error\n" + `data: {"type":"error","sequence_number":0,"code":"server_error","message":"busy","param":null,"error":{"message":"busy","type":"api_error","param":null,"code":"server_error"}}`, 502},
		"Anthropic's": {"/v1/messages", answers(events(404, "application/json", `{"type":"error","error":{"type":"not_found_error","message":"model 'x' not found"}}`)), "event: error\n" + `data: {"type":"error","error":{"type":"not_found_error","message":"model 'x' not found"},"request_id":"…"}`, 502},
		"a plain one": {"/v1/completions", answers(events(500, "application/json", `{"error":"out of memory"}`)), `data: {"error":{"message":"out of memory","type":"api_error","param":null,"code":null}}`, 502},
		"no JSON":     {"/v1/completions", answers(events(500, "text/html", `<h1>Oops`)), `data: {"error":{"message":"Ollama sent no stream","type":"api_error","param":null,"code":null}}`, 502},
		"endless":     {"/v1/completions", answers(events(500, "application/json", `{"error":"`+long+`"}`)), `data: {"error":{"message":"Ollama sent no stream","type":"api_error","param":null,"code":null}}`, 502},
		"no events":   {"/v1/completions", answers(events(200, "application/json", `{"choices":[]}`)), `data: {"error":{"message":"Ollama sent no stream","type":"api_error","param":null,"code":null}}`, 502},
		"unreachable": {"/v1/completions", func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") }, `data: {"error":{"message":"Ollama broke off its answer","type":"api_error","param":null,"code":null}}`, 502},
		"silent":      {"/v1/completions", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, `data: {"error":{"message":"Ollama sent nothing within 15m0s","type":"api_error","param":null,"code":null}}`, 504},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				got, spy := bubbleAt(t, c.path, 15*time.Second, unannounced(`{"model":"tiny","stream":true}`), func(r *http.Request) (*http.Response, error) {
					consume(r)
					time.Sleep(20 * time.Second)
					return c.ollama(r)
				})
				text := strings.ReplaceAll(got.Body, beat, "")
				if i := strings.Index(text, `"request_id":"`); i >= 0 {
					text = text[:i] + `"request_id":"…"}` + "\n\n"
				}
				if got.Status != 200 || text != c.event+"\n\n" || !strings.HasPrefix(got.Body, beat) || got.Err != map[int]error{504: http.ErrAbortHandler}[c.code] {
					t.Errorf("%s %q, want %q", got, got.Body, c.event)
				}
				if code := spy.All("RequestEnded")[0].N; code != c.code {
					t.Errorf("recorded as %d", code)
				}
			})
		})
	}
}

// TestHeartbeatsOverTCP: they arrive while Ollama is silent, and the answer that follows
// has the same bytes as Ollama's.
func TestHeartbeatsOverTCP(t *testing.T) {
	t.Parallel()
	for _, c := range handlertest.Chats[2:] {
		t.Run(c.Path, func(t *testing.T) {
			t.Parallel()
			step := make(chan struct{})
			s := handlertest.Start(t, handlertest.Config{Ollama: standin.Options{Step: step}, Proxy: func(o *handler.Options) { o.Heartbeat = time.Millisecond }})
			w := s.Dial(t)
			w.Send("POST", c.Path, c.Ask("slow", true), handlertest.Bearer(s.Key), "Accept-Encoding: gzip")
			res := w.ReadHead("POST")
			body := bufio.NewReader(res.Body)
			for range 3 {
				if line, err := body.ReadString('\n'); line+"\n" != beat || err != nil {
					t.Fatalf("%q, %v", line, err)
				}
				body.ReadString('\n')
			}
			close(step)
			rest, err := io.ReadAll(body)
			text := strings.ReplaceAll(string(rest), beat, "")
			if err != nil || !strings.Contains(text, c.End) || strings.Contains(text, ":waiting") {
				t.Errorf("%q, %v", text, err)
			}
			if n := s.Spy.Sum("Passed"); n != len(text) {
				t.Errorf("Ollama sent %d bytes, %d arrived", n, len(text))
			}
			if coding := s.AwaitRequest(t, 1).Header.Get("Accept-Encoding"); coding != "" {
				t.Errorf("Ollama may answer in %s", coding)
			}
		})
	}
}

// TestLeavingDuringHeartbeats: a client that leaves cancels the request at Ollama.
func TestLeavingDuringHeartbeats(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{Proxy: func(o *handler.Options) { o.Heartbeat = time.Millisecond }})
	w := s.Dial(t)
	w.Send("POST", handlertest.Chats[2].Path, handlertest.Chats[2].Ask("hang", true), handlertest.Bearer(s.Key))
	w.ReadHead("POST")
	asked := s.AwaitRequest(t, 1) // the first beat may come before that
	w.Close()
	handlertest.Await(t, asked.Gone, "Ollama to be let go")
	if code := s.Spy.Ended(t, 1); code != 499 {
		t.Errorf("recorded as %d", code)
	}
}
