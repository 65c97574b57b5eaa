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

// openAIAnswer is a completion, or one event of it.
type openAIAnswer struct {
	ID          string   `json:"id"`
	Object      string   `json:"object"`
	Created     int64    `json:"created"`
	Model       string   `json:"model"`
	Fingerprint string   `json:"system_fingerprint"`
	Choices     []choice `json:"choices"`
	Usage       *usage   `json:"usage,omitempty"`
}

// choice has the message of a whole chat, the delta of a streamed one, or the text of a plain completion.
type choice struct {
	Index   int     `json:"index"`
	Message *said   `json:"message,omitempty"`
	Delta   *delta  `json:"delta,omitempty"`
	Text    *string `json:"text,omitempty"`
	Finish  *string `json:"finish_reason"`
}

// delta is empty in the finish event, and has a content, even an empty one, in all others.
type delta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// openAIVoice speaks for /v1/chat/completions and, with plain, for /v1/completions.
type openAIVoice struct {
	*answer
	id      string
	plain   bool
	counted bool // the client asked for usage in the stream
	begun   bool
}

func (x *exchange) chatCompletion() {
	if x.unread == nil && x.fault == "" && len(x.ask.messages) == 0 {
		x.fail(http.StatusBadRequest, "[] is too short - 'messages'")
		return
	}
	x.complete(&openAIVoice{id: fmt.Sprintf("chatcmpl-%d", x.seen.number)})
}

func (x *exchange) completion() {
	x.complete(&openAIVoice{id: fmt.Sprintf("cmpl-%d", x.seen.number), plain: true})
}

func (x *exchange) complete(v *openAIVoice) {
	if !x.runnable() {
		return
	}
	v.answer = x.newAnswer()
	v.counted = x.ask.StreamOptions != nil && x.ask.StreamOptions.IncludeUsage
	x.say(v.answer, v, x.ask.streams())
}

func (v *openAIVoice) header(h http.Header) { h.Set("Content-Type", "text/event-stream") }

func (v *openAIVoice) body(c choice) openAIAnswer {
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

// event returns the body of an event that carries text. Those of plain completions have a usage of zeros if the
// client asked for usage at all.
func (v *openAIVoice) event(text string) openAIAnswer {
	if v.plain {
		b := v.body(choice{Text: &text})
		if v.counted {
			b.Usage = &usage{}
		}
		return b
	}
	return v.body(choice{Delta: &delta{Content: &text}})
}

func (v *openAIVoice) token(text string) [][]byte {
	b := v.event(text)
	if !v.begun && !v.plain {
		b.Choices[0].Delta.Role = "assistant"
	}
	v.begun = true
	return [][]byte{sse("", b)}
}

// end returns one chunk of two or three events.
func (v *openAIVoice) end() [][]byte {
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

// killed returns Ollama's error line as its translation to this dialect leaves it: without the error.
func (v *openAIVoice) killed() [][]byte {
	b := v.event("")
	b.Model = ""
	return [][]byte{sse("", b)}
}

// failed returns the error as other servers of this dialect tell it. Ollama itself never does.
func (v *openAIVoice) failed() [][]byte {
	return [][]byte{sse("", openAI.failure(http.StatusInternalServerError, killedMessage, ""))}
}

func (v *openAIVoice) whole() any {
	text := v.text()
	c := choice{Message: &said{"assistant", text}}
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

// streams reports whether the answer is to be streamed where that is not the default.
func (a *ask) streams() bool { return a.Stream != nil && *a.Stream }

// sse returns one event, with its name where the dialect gives events names.
func sse(name string, v any) []byte {
	var b []byte
	if name != "" {
		b = fmt.Appendf(b, "event: %s\n", name)
	}
	return fmt.Appendf(b, "data: %s\n\n", encode(v))
}
