package standin_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

func TestEachChunkIsOneLineOrEvent(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	for _, d := range dialects {
		w := dial(t, s)
		w.send("POST", d.path, d.ask("TINY", true))
		head := w.head()
		if head.StatusCode != 200 || !slices.Equal(head.TransferEncoding, []string{"chunked"}) {
			t.Errorf("%s: %s %v", d.path, head.Status, head.TransferEncoding)
		}
		chunks, err := w.chunks()
		if err != io.EOF || len(chunks) < 20 {
			t.Fatalf("%s: %d chunks, %v", d.path, len(chunks), err)
		}

		native := strings.HasPrefix(d.path, "/api/")
		for i, c := range chunks {
			end := "\n\n"
			if native {
				end = "\n"
			}
			if !strings.HasSuffix(c, end) || strings.Contains(strings.TrimSuffix(c, end), end) != (i == len(chunks)-1 && d.end == "data: [DONE]\n\n") {
				t.Errorf("%s: chunk %d of %d is not one line or event: %q", d.path, i, len(chunks), c)
			}
			if strings.Contains(c, d.end) != (i == len(chunks)-1) {
				t.Errorf("%s: chunk %d of %d: %q", d.path, i, len(chunks), c)
			}
		}
		if first := chunks[0]; !strings.Contains(first, `"model":"TINY"`) {
			t.Errorf("%s does not echo the client's spelling: %s", d.path, first)
		}
	}
}

func TestStreamHeaders(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	for _, d := range dialects {
		r, _ := exchange(t, s, "POST", d.path, d.ask("tiny", true))
		contentType, cache, connection := "text/event-stream", "", ""
		switch d.path {
		case "/api/chat", "/api/generate":
			contentType = "application/x-ndjson"
		case "/v1/messages", "/v1/responses":
			cache, connection = "no-cache", "keep-alive"
		}
		h := r.Header
		if h.Get("Content-Type") != contentType || h.Get("Cache-Control") != cache || h.Get("Connection") != connection {
			t.Errorf("%s: %v", d.path, h)
		}
	}
}

func TestLastNativeLine(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	for _, d := range dialects[:2] {
		_, body := exchange(t, s, "POST", d.path, d.ask("tiny", true))
		lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
		last := parse(t, lines[len(lines)-1])
		if last["done"] != true || last["done_reason"] != "stop" || last["eval_count"] != float64(len(lines)-1) || last["prompt_eval_count"] != 3.0 {
			t.Errorf("%s ends with %v", d.path, last)
		}
		var parts float64
		for _, k := range []string{"load_duration", "prompt_eval_duration", "eval_duration"} {
			v, _ := last[k].(float64)
			if v <= 0 {
				t.Errorf("%s: %s is %v", d.path, k, last[k])
			}
			parts += v
		}
		if last["total_duration"] != parts {
			t.Errorf("%s: total %v, parts %v", d.path, last["total_duration"], parts)
		}
		if _, ok := last["context"]; ok != (d.path == "/api/generate") {
			t.Errorf("%s: context %v", d.path, last["context"])
		}
		for _, l := range lines[:len(lines)-1] {
			if v := parse(t, l); v["done"] != false || v["eval_count"] != nil {
				t.Errorf("%s: %s", d.path, l)
			}
		}
	}
}

func TestUsageOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	for _, d := range dialects[2:4] {
		_, plain := exchange(t, s, "POST", d.path, d.ask("tiny", true))
		if strings.Contains(plain, "usage") {
			t.Errorf("%s: usage that nobody asked for", d.path)
		}

		w := dial(t, s)
		w.send("POST", d.path, strings.Replace(d.ask("tiny", true), "{", `{"stream_options":{"include_usage":true},`, 1))
		w.head()
		chunks, _ := w.chunks()
		last := strings.Split(strings.TrimSuffix(chunks[len(chunks)-1], "\n\n"), "\n\n")
		if len(last) != 3 || last[2] != "data: [DONE]" || !strings.Contains(last[0], `"finish_reason":"stop"`) {
			t.Fatalf("%s ends with %q", d.path, last)
		}
		u := parse(t, strings.TrimPrefix(last[1], "data: "))
		if counts := fmt.Sprint(u["usage"]); len(u["choices"].([]any)) != 0 || counts != fmt.Sprintf("map[completion_tokens:%d prompt_tokens:3 total_tokens:%d]", len(chunks)-1, len(chunks)+2) {
			t.Errorf("%s: usage event %v", d.path, u)
		}
		for _, c := range chunks[:len(chunks)-1] {
			if strings.Contains(c, `"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}`) != (d.path == "/v1/completions") {
				t.Errorf("%s: %s", d.path, c)
			}
		}
	}
}

func TestEventSequences(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	want := map[string][]string{
		"/v1/messages": {"message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"},
		"/v1/responses": {"response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
			"response.output_text.delta", "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"},
	}
	for _, d := range dialects[4:] {
		_, body := exchange(t, s, "POST", d.path, d.ask("tiny", true))
		var names []string
		for i, e := range strings.Split(strings.TrimSuffix(body, "\n\n"), "\n\n") {
			name, data, _ := strings.Cut(strings.TrimPrefix(e, "event: "), "\ndata: ")
			v := parse(t, data)
			if v["type"] != name {
				t.Errorf("%s: event %q has type %v", d.path, name, v["type"])
			}
			if n, ok := v["sequence_number"]; ok && n != float64(i) {
				t.Errorf("%s: event %d has number %v", d.path, i, n)
			}
			names = append(names, name)
		}
		if names = slices.Compact(names); !slices.Equal(names, want[d.path]) {
			t.Errorf("%s: %v", d.path, names)
		}
	}
}

func TestUnstreamedAnswersHaveALength(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	for _, d := range dialects {
		body := d.ask("tiny", false)
		if !strings.HasPrefix(d.path, "/api/") {
			body = strings.Replace(body, `,"stream":false`, "", 1)
		}
		r, text := exchange(t, s, "POST", d.path, body)
		if r.ContentLength != int64(len(text)) || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: length %d of %d, %v", d.path, r.ContentLength, len(text), r.Header)
		}
		if !strings.Contains(text, "Hello! I am not really tiny") || !strings.Contains(text, "stop") && !strings.Contains(text, "completed") {
			t.Errorf("%s: %s", d.path, text)
		}
	}
}

func TestHTTP10GetsNoChunks(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	w := dial(t, s)
	body := dialects[0].ask("tiny", true)
	fmt.Fprintf(w, "POST /api/chat HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if head := w.head(); len(head.TransferEncoding) != 0 {
		t.Error(head.TransferEncoding)
	}
	if all, err := io.ReadAll(w.r); err != nil || !strings.HasPrefix(string(all), `{"model":"tiny"`) {
		t.Errorf("%q, %v", all, err)
	}
}

func TestTokenLimit(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	_, body := exchange(t, s, "POST", "/api/generate", `{"model":"tiny","prompt":"x","options":{"num_predict":5}}`)
	if n := strings.Count(body, "\n"); n != 6 || !strings.Contains(body, `"done_reason":"length"`) {
		t.Errorf("%d lines: %s", n, body)
	}
	_, body = exchange(t, s, "POST", "/v1/messages", `{"model":"tiny","max_tokens":5,"messages":[{"role":"user","content":"x"}]}`)
	if !strings.Contains(body, `"stop_reason":"max_tokens"`) || !strings.Contains(body, `"output_tokens":5`) {
		t.Error(body)
	}
}

func TestRequestWithoutPromptLoadsTheModel(t *testing.T) {
	t.Parallel()
	_, s := start(t, standin.Options{})
	for _, path := range []string{"/api/chat", "/api/generate"} {
		r, body := exchange(t, s, "POST", path, `{"model":"tiny"}`)
		if v := parse(t, body); r.StatusCode != 200 || v["done"] != true || v["done_reason"] != "load" {
			t.Errorf("%s: %s", path, body)
		}
		if _, ps := exchange(t, s, "GET", "/api/ps", ""); !strings.Contains(ps, "tiny:latest") {
			t.Errorf("%s: not running: %s", path, ps)
		}
		exchange(t, s, "POST", path, `{"model":"tiny","keep_alive":0}`)
		if _, ps := exchange(t, s, "GET", "/api/ps", ""); ps != `{"models":[]}` {
			t.Errorf("%s: still running: %s", path, ps)
		}
	}
}
