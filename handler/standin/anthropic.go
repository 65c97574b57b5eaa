package standin

import "net/http"

type anthropicEncoder struct {
	*answer
	id       string
	estimate int // of the prompt's tokens, sent before they are counted
	begun    bool
}

func (x *exchange) message() {
	if x.bodyErr == nil && x.fault == "" && x.query.Model != "" {
		if x.query.limit() == 0 {
			x.fail(http.StatusBadRequest, "max_tokens is required and must be positive")
			return
		}
		if len(x.query.messages) == 0 {
			x.fail(http.StatusBadRequest, "messages is required")
			return
		}
	}
	if !x.runnable() {
		return
	}
	v := &anthropicEncoder{answer: x.newAnswer(), id: x.id("msg_"), estimate: max(1, len(x.query.text())/4)}
	x.sendAnswer(v.answer, v, x.query.streams())
}

func (v *anthropicEncoder) header(h http.Header) { eventStream(h) }

// eventStream sets the headers of a stream in the two dialects in which Ollama sends all three.
func eventStream(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("Connection", "keep-alive")
}

type anthropicUsage struct {
	Input  int `json:"input_tokens"`
	Output int `json:"output_tokens"`
}

func (v *anthropicEncoder) counted() anthropicUsage {
	prompt, completion := v.counts()
	return anthropicUsage{prompt, completion}
}

func (v *anthropicEncoder) body(content []any, u anthropicUsage) map[string]any {
	return map[string]any{
		"id": v.id, "type": "message", "role": "assistant", "model": v.model, "content": content, "usage": u,
	}
}

func (v *anthropicEncoder) token(text string) [][]byte {
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

func (v *anthropicEncoder) end() [][]byte {
	return [][]byte{
		v.event("content_block_stop", map[string]any{"index": 0}),
		v.event("message_delta", map[string]any{"delta": map[string]any{"stop_reason": v.stopReason()}, "usage": v.counted()}),
		v.event("message_stop", map[string]any{}),
	}
}

func (v *anthropicEncoder) killed() [][]byte { return nil }

func (v *anthropicEncoder) failed() [][]byte {
	return [][]byte{sse("error", anthropic.failure(http.StatusInternalServerError, killedMessage, v.id))}
}

func (v *anthropicEncoder) whole() any {
	b := v.body([]any{map[string]any{"type": "text", "text": v.text()}}, v.counted())
	if v.reason != "" {
		b["stop_reason"] = v.stopReason()
	}
	return b
}

func (v *anthropicEncoder) stopReason() string {
	if v.reason == "length" {
		return "max_tokens"
	}
	return "end_turn"
}

func (v *anthropicEncoder) event(name string, data map[string]any) []byte {
	data["type"] = name
	return sse(name, data)
}
