package handlertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Chat is a route that generates text, as a stream or in one piece.
type Chat struct {
	Path string
	Body string // of a request; a format for the model and whether to stream
	End  string // text that only a complete stream contains
}

// Chats lists these routes.
var Chats = []Chat{
	{"/api/chat", `{"model":%q,"stream":%t,"messages":[{"role":"user","content":"hi"}]}`, `"done":true`},
	{"/api/generate", `{"model":%q,"stream":%t,"prompt":"hi"}`, `"done":true`},
	{"/v1/chat/completions", `{"model":%q,"stream":%t,"messages":[{"role":"user","content":"hi"}]}`, "data: [DONE]"},
	{"/v1/completions", `{"model":%q,"stream":%t,"prompt":"hi"}`, "data: [DONE]"},
	{"/v1/responses", `{"model":%q,"stream":%t,"input":"hi"}`, "response.completed"},
	{"/v1/messages", `{"model":%q,"stream":%t,"max_tokens":500,"messages":[{"role":"user","content":"hi"}]}`, "message_stop"},
}

// Ask returns the body of a request.
func (c Chat) Ask(model string, stream bool) string { return fmt.Sprintf(c.Body, model, stream) }

// BodyOfSize returns the first bytes of a body of JSON, of the given number.
func BodyOfSize(size int) string {
	const first = `{"prompt":"`
	return (first + strings.Repeat("a", size))[:size]
}

// EachChat runs a test for each of Chats, as a stream and in one piece.
func EachChat(t *testing.T, f func(t *testing.T, c Chat, stream bool)) {
	for _, c := range Chats {
		for _, stream := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s stream=%t", c.Path, stream), func(t *testing.T) {
				t.Parallel()
				f(t, c, stream)
			})
		}
	}
}

// shape has the fields of an error answer in any of the dialects.
type shape struct {
	Type      string          `json:"type"`
	Error     json.RawMessage `json:"error"`
	RequestID string          `json:"request_id"`
}

// detail has the fields of the error in it.
type detail struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// ErrorIn reads an error answer, and returns its message and type. The test fails if the
// answer is not in the dialect that clients of the path expect.
func ErrorIn(t *testing.T, path, body string) (message, kind string) {
	t.Helper()
	var s shape
	if err := Strict(body, &s); err != nil {
		t.Errorf("%s: the error %q: %v", path, body, err)
		return "", ""
	}
	var d detail
	switch {
	case strings.HasPrefix(path, "/v1/messages"):
		if err := Strict(string(s.Error), &d); err != nil || s.Type != "error" || s.RequestID == "" || d.Type == "" {
			t.Errorf("%s: %q is not an error of Anthropic's: %v", path, body, err)
		}
	case strings.HasPrefix(path, "/v1/"):
		err := Strict(string(s.Error), &d)
		if err != nil || s.Type != "" || d.Type == "" || !strings.Contains(body, `"param":`) || !strings.Contains(body, `"code":`) {
			t.Errorf("%s: %q is not an error of OpenAI's: %v", path, body, err)
		}
	default:
		if err := Strict(string(s.Error), &d.Message); err != nil || s.Type != "" {
			t.Errorf("%s: %q is not an error of Ollama's: %v", path, body, err)
		}
	}
	if d.Message == "" {
		t.Errorf("%s: the error %q has no message", path, body)
	}
	return d.Message, d.Type
}

// Strict decodes one JSON value into v. It returns an error for a field that v does not
// have, and for more than one value.
func Strict(text string, v any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one value")
	}
	return nil
}
