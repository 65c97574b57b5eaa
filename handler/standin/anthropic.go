package standin

import "net/http"

type anthropicVoice struct {
	*answer
	id       string
	estimate int // of the prompt's tokens, told before they are counted
	begun    bool
}

func (x *exchange) message() {
	if x.unread == nil && x.fault == "" && x.ask.Model != "" {
		if x.ask.limit() == 0 {
			x.fail(http.StatusBadRequest, "max_tokens is required and must be positive")
			return
		}
		if len(x.ask.messages) == 0 {
			x.fail(http.StatusBadRequest, "messages is required")
			return
		}
	}
	if !x.runnable() {
		return
	}
	v := &anthropicVoice{answer: x.newAnswer(), id: x.id("msg_"), estimate: max(1, len(x.ask.text())/4)}
	x.say(v.answer, v, x.ask.streams())
}

func (v *anthropicVoice) header(h http.Header) { eventStream(h) }

// eventStream sets the headers of the two dialects in which Ollama also says how to treat the stream.
func eventStream(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("Connection", "keep-alive")
}

type anthropicUsage struct {
	Input  int `json:"input_tokens"`
	Output int `json:"output_tokens"`
}

func (v *anthropicVoice) counted() anthropicUsage {
	prompt, completion := v.counts()
	return anthropicUsage{prompt, completion}
}

func (v *anthropicVoice) body(content []any, u anthropicUsage) map[string]any {
	return map[string]any{
		"id": v.id, "type": "message", "role": "assistant", "model": v.model, "content": content, "usage": u,
	}
}

func (v *anthropicVoice) token(text string) [][]byte {
	var chunks [][]byte
	if !v.begun {
		v.begun = true
		chunks = append(chunks,
			v.event("message_start", map[string]any{"message": v.body([]any{}, anthropicUsage{Input: v.estimate})}),
			v.event("content_block_start", map[string]any{"index": 0, "content_block": map[string]any{"type": "text", "text": ""}}),
		)
	}
	return append(chunks,
		v.event("content_block_delta", map[string]any{"index": 0, "delta": map[string]any{"type": "text_delta", "text": text}}))
}

func (v *anthropicVoice) end() [][]byte {
	return [][]byte{
		v.event("content_block_stop", map[string]any{"index": 0}),
		v.event("message_delta", map[string]any{"delta": map[string]any{"stop_reason": v.stopReason()}, "usage": v.counted()}),
		v.event("message_stop", map[string]any{}),
	}
}

func (v *anthropicVoice) killed() [][]byte { return nil }

func (v *anthropicVoice) failed() [][]byte {
	return [][]byte{sse("error", anthropic.failure(http.StatusInternalServerError, killedMessage, v.id))}
}

func (v *anthropicVoice) whole() any {
	b := v.body([]any{map[string]any{"type": "text", "text": v.text()}}, v.counted())
	if v.reason != "" {
		b["stop_reason"] = v.stopReason()
	}
	return b
}

func (v *anthropicVoice) stopReason() string {
	if v.reason == "length" {
		return "max_tokens"
	}
	return "end_turn"
}

func (v *anthropicVoice) event(name string, data map[string]any) []byte {
	data["type"] = name
	return sse(name, data)
}
