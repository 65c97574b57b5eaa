package standin

import (
	"fmt"
	"net/http"
	"time"
)

type responsesEncoder struct {
	*answer
	id, item string
	limit    int
	sequence int // of the next event
}

func (x *exchange) response() {
	if !x.runnable() {
		return
	}
	v := &responsesEncoder{
		answer: x.newAnswer(),
		id:     fmt.Sprintf("resp_%d", x.seen.number),
		item:   fmt.Sprintf("msg_%d", x.seen.number),
		limit:  x.query.limit(),
	}
	x.sendAnswer(v.answer, v, x.query.streams())
}

func (v *responsesEncoder) header(h http.Header) { eventStream(h) }

func (v *responsesEncoder) token(text string) [][]byte {
	var chunks [][]byte
	if v.sequence == 0 {
		begun := v.body("in_progress", []any{}, nil)
		chunks = append(chunks,
			v.event("response.created", map[string]any{"response": begun}),
			v.event("response.in_progress", map[string]any{"response": begun}),
			v.event("response.output_item.added", map[string]any{"output_index": 0, "item": v.message("in_progress", []any{})}),
			v.event("response.content_part.added", v.part(map[string]any{"part": outputText("")})),
		)
	}
	return append(chunks,
		v.event("response.output_text.delta", v.part(map[string]any{"delta": text, "logprobs": []any{}})))
}

func (v *responsesEncoder) end() [][]byte {
	text := v.text()
	item := v.message("completed", []any{outputText(text)})
	return [][]byte{
		v.event("response.output_text.done", v.part(map[string]any{"text": text, "logprobs": []any{}})),
		v.event("response.content_part.done", v.part(map[string]any{"part": outputText(text)})),
		v.event("response.output_item.done", map[string]any{"output_index": 0, "item": item}),
		v.event("response.completed", map[string]any{"response": v.body("completed", []any{item}, v.counted())}),
	}
}

func (v *responsesEncoder) killed() [][]byte { return nil }

func (v *responsesEncoder) failed() [][]byte {
	b := v.body("failed", []any{}, nil)
	b["error"] = map[string]string{"code": "server_error", "message": killedMessage}
	return [][]byte{v.event("response.failed", map[string]any{"response": b})}
}

func (v *responsesEncoder) whole() any {
	return v.body("completed", []any{v.message("completed", []any{outputText(v.text())})}, v.counted())
}

func (v *responsesEncoder) counted() map[string]any {
	prompt, completion := v.counts()
	return map[string]any{
		"input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion,
		"input_tokens_details":  map[string]int{"cached_tokens": 0},
		"output_tokens_details": map[string]int{"reasoning_tokens": 0},
	}
}

func (v *responsesEncoder) message(status string, content []any) map[string]any {
	return map[string]any{"id": v.item, "type": "message", "status": status, "role": "assistant", "content": content}
}

func outputText(text string) map[string]any {
	return map[string]any{"type": "output_text", "text": text, "annotations": []any{}, "logprobs": []any{}}
}

// part adds to the data of an event which part of the answer it belongs to; there is only one.
func (v *responsesEncoder) part(data map[string]any) map[string]any {
	data["item_id"], data["output_index"], data["content_index"] = v.item, 0, 0
	return data
}

// body returns the response object with all of its fields, since clients may read any of them.
func (v *responsesEncoder) body(status string, output []any, usage map[string]any) map[string]any {
	b := map[string]any{
		"id": v.id, "object": "response", "created_at": v.created.Unix(), "completed_at": nil, "status": status,
		"error": nil, "incomplete_details": nil, "instructions": nil, "previous_response_id": nil,
		"model": v.model, "output": output, "usage": usage, "max_output_tokens": nil, "max_tool_calls": nil,
		"tools": []any{}, "tool_choice": "auto", "parallel_tool_calls": true, "truncation": "disabled",
		"text":  map[string]any{"format": map[string]any{"type": "text"}},
		"top_p": 1, "temperature": 1, "presence_penalty": 0, "frequency_penalty": 0, "top_logprobs": 0,
		"reasoning": nil, "store": false, "background": false, "service_tier": "default",
		"metadata": map[string]any{}, "safety_identifier": nil, "prompt_cache_key": nil,
	}
	if v.limit > 0 {
		b["max_output_tokens"] = v.limit
	}
	if status == "completed" {
		b["completed_at"] = time.Now().Unix()
	}
	return b
}

func (v *responsesEncoder) event(name string, data map[string]any) []byte {
	data["type"], data["sequence_number"] = name, v.sequence
	v.sequence++
	return sse(name, data)
}
