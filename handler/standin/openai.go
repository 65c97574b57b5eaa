package standin

import (
	"fmt"
	"net/http"
)

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

func (a *answer) usage() *usage {
	prompt, completion := a.counts()
	return &usage{prompt, completion, prompt + completion}
}

// openAIAnswer is a completion, or one event of a streamed one.
type openAIAnswer struct {
	ID          string   `json:"id"`
	Object      string   `json:"object"`
	Created     int64    `json:"created"`
	Model       string   `json:"model"`
	Fingerprint string   `json:"system_fingerprint"`
	Choices     []choice `json:"choices"`
	Usage       *usage   `json:"usage,omitempty"`
}

// choice has the message of a chat, the delta of a streamed chat, or the text of a plain completion.
type choice struct {
	Index   int          `json:"index"`
	Message *chatMessage `json:"message,omitempty"`
	Delta   *delta       `json:"delta,omitempty"`
	Text    *string      `json:"text,omitempty"`
	Finish  *string      `json:"finish_reason"`
}

// delta is empty in the finish event. In all other events it has a content, which may be "".
type delta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// openAIEncoder encodes for /v1/chat/completions and, if plain is set, for /v1/completions.
type openAIEncoder struct {
	*answer
	id      string
	plain   bool
	counted bool // the client asked for usage in the stream
	begun   bool
}

func (x *exchange) chatCompletion() {
	if x.bodyErr == nil && x.fault == "" && len(x.query.messages) == 0 {
		x.fail(http.StatusBadRequest, "[] is too short - 'messages'")
		return
	}
	x.complete(&openAIEncoder{id: fmt.Sprintf("chatcmpl-%d", x.seen.number)})
}

func (x *exchange) completion() {
	x.complete(&openAIEncoder{id: fmt.Sprintf("cmpl-%d", x.seen.number), plain: true})
}

func (x *exchange) complete(v *openAIEncoder) {
	if !x.runnable() {
		return
	}
	v.answer = x.newAnswer()
	v.counted = x.query.StreamOptions != nil && x.query.StreamOptions.IncludeUsage
	x.sendAnswer(v.answer, v, x.query.streams())
}

func (v *openAIEncoder) header(h http.Header) { h.Set("Content-Type", "text/event-stream") }

func (v *openAIEncoder) body(c choice) openAIAnswer {
	b := openAIAnswer{ID: v.id, Created: v.created.Unix(), Model: v.model, Fingerprint: "fp_ollama", Choices: []choice{c}}
	switch {
	case v.plain:
		b.Object = "text_completion"
	case c.Message != nil:
		b.Object = "chat.completion"
	default:
		b.Object = "chat.completion.chunk"
	}
	return b
}

// event returns an event with text. In plain completions it has a usage of zeros, if the client asked for usage.
func (v *openAIEncoder) event(text string) openAIAnswer {
	if v.plain {
		b := v.body(choice{Text: &text})
		if v.counted {
			b.Usage = &usage{}
		}
		return b
	}
	return v.body(choice{Delta: &delta{Content: &text}})
}

func (v *openAIEncoder) token(text string) [][]byte {
	b := v.event(text)
	if !v.begun && !v.plain {
		b.Choices[0].Delta.Role = "assistant"
	}
	v.begun = true
	return [][]byte{sse("", b)}
}

// end returns one chunk of two or three events.
func (v *openAIEncoder) end() [][]byte {
	var last openAIAnswer
	if v.plain {
		last = v.event("")
		last.Choices[0].Finish = &v.reason
	} else {
		last = v.body(choice{Delta: &delta{}, Finish: &v.reason})
	}
	chunk := sse("", last)
	if v.counted {
		last.Choices, last.Usage = []choice{}, v.usage()
		chunk = append(chunk, sse("", last)...)
	}
	return [][]byte{append(chunk, "data: [DONE]\n\n"...)}
}

// killed returns what Ollama makes of its native error line in this dialect: an event without the error.
func (v *openAIEncoder) killed() [][]byte {
	b := v.event("")
	b.Model = ""
	return [][]byte{sse("", b)}
}

// failed returns an error as other servers of this dialect send it. Ollama itself does not.
func (v *openAIEncoder) failed() [][]byte {
	return [][]byte{sse("", openAI.failure(http.StatusInternalServerError, killedMessage, ""))}
}

func (v *openAIEncoder) whole() any {
	text := v.text()
	c := choice{Message: &chatMessage{"assistant", text}}
	if v.plain {
		c = choice{Text: &text}
	}
	if v.reason != "" {
		c.Finish = &v.reason
	}
	b := v.body(c)
	b.Usage = v.usage()
	return b
}

// streams reports whether the answer is to be streamed, on routes on which that is not the default.
func (a *query) streams() bool { return a.Stream != nil && *a.Stream }

// sse returns one event, with its name where the dialect gives events names.
func sse(name string, v any) []byte {
	var b []byte
	if name != "" {
		b = fmt.Appendf(b, "event: %s\n", name)
	}
	return fmt.Appendf(b, "data: %s\n\n", encode(v))
}
