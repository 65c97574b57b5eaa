package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestTokenCountsAreOllamas: on every route that counts, they are compared with those in
// the answer itself.
func TestTokenCountsAreOllamas(t *testing.T) {
	t.Parallel()
	for _, c := range handlertest.Chats {
		for _, stream := range []bool{true, false} {
			s := handlertest.Start(t, handlertest.Config{})
			s.Spy.Await(t, "UpstreamUp", 1)
			body := c.Ask("LLAMA3.2", stream)
			if stream && strings.HasSuffix(c.Path, "completions") {
				body = strings.TrimSuffix(body, "}") + `,"stream_options":{"include_usage":true}}`
			}
			w := s.Dial(t)
			w.Send("POST", c.Path, body, handlertest.Bearer(s.Key))
			if got := w.Answer("POST"); got.Status != 200 || got.Err != nil {
				t.Fatalf("%s: %s", c.Path, got)
			}
			text := s.Spy.Await(t, "Tokens", 1).Text
			var model string
			var prompt, completion int
			if n, err := fmt.Sscan(text, &model, &prompt, &completion); n != 3 || err != nil || model != "llama3.2:latest" || prompt < 2 || completion < 10 {
				t.Errorf("%s stream=%t: %q", c.Path, stream, text)
			}
			if e := s.Spy.Await(t, "Answered", 1); e.Text != model || e.N != s.Spy.Sum("Passed") {
				t.Errorf("%s stream=%t: %d bytes of %s, and %d have passed", c.Path, stream, e.N, e.Text, s.Spy.Sum("Passed"))
			}
		}
	}
}

func TestTokensOfAnswersInPieces(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("1000,", 2000)
	quoted, _ := json.Marshal(`{"eval_count":999,"prompt_eval_count":999}`)
	for name, row := range map[string]struct {
		answer, want string
	}{
		"native, after a long context":    {`{"context":[` + long + `1],"prompt_eval_count":26,"eval_count":259,"eval_duration":1}`, "other 26 259"},
		"none":                            {`{"done":true}`, ""},
		"a model that writes about it":    {`{"response":` + string(quoted) + `,"done":true}`, ""},
		"the same, before the real thing": {`{"response":` + string(quoted) + `,"done":true,"prompt_eval_count":1,"eval_count":2}`, "other 1 2"},
		"arguments that a model chose":    {`{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"input_tokens":999,"completion_tokens":999,"eval_count":999}}}]},"done":true,"prompt_eval_count":1,"eval_count":2}`, "other 1 2"},
		"too far from the end":            {`{"prompt_eval_count":26,"eval_count":259,"context":[` + long + `1]}`, ""},
		"absurd":                          {`{"prompt_eval_count":99999999999999999999,"eval_count":-5}`, ""},
		"the last of several":             {"data: {\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}\n\ndata: {\"usage\":{\"prompt_tokens\":3, \"completion_tokens\": 4}}\n\ndata: [DONE]\n\n", "other 3 4"},
	} {
		for _, size := range []int{1, 7, 1000, 1 << 20} {
			if size == 1 && len(row.answer) > 1000 {
				continue
			}
			s := handlertest.Start(t, handlertest.Config{Upstream: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for rest := row.answer; rest != ""; {
					n := min(size, len(rest))
					io.WriteString(w, rest[:n])
					http.NewResponseController(w).Flush()
					rest = rest[n:]
				}
			})})
			w := s.Dial(t)
			path := "/api/generate"
			if strings.HasPrefix(row.answer, "data:") {
				path = "/v1/chat/completions"
			}
			w.Send("POST", path, `{"model":"never-heard-of"}`, handlertest.Bearer(s.Key))
			if got := w.Answer("POST"); got.Body != row.answer {
				t.Errorf("%s: changed on its way", name)
			}
			s.Spy.Ended(t, 1)
			if got := strings.Join(s.Spy.Texts("Tokens"), ";"); got != row.want {
				t.Errorf("%s in pieces of %d: %q", name, size, got)
			}
		}
	}
}
