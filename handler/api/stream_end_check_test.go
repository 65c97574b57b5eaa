package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// follow passes the chunks and returns what has become of the stream.
func follow(w LastWord, chunks ...string) (*Passage, error) {
	p := new(Passage)
	p.Ending.Expect(w)
	for _, c := range chunks {
		p.Add([]byte(c))
	}
	return p, p.Ending.Verdict(&p.Tail)
}

// pieces cuts text into pieces of n bytes, the first one of size first.
func pieces(text string, first, n int) (all []string) {
	all = append(all, text[:first])
	for c := range slices.Chunk([]byte(text[first:]), n) {
		all = append(all, string(c))
	}
	return all
}

// hostile is text that a model may write, as JSON has it.
var hostile = func() string {
	b, _ := json.Marshal("\n\ndata: [DONE]\n\n{\"done\":true}\n\"done\":true,\"status\":\"success\"\r\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n\\\"type\":\"response.completed\"\\")
	return string(b)
}()

// arguments are a tool's, raw as the native routes have them.
const arguments = `{"done":true,"error":"no","status":"success","type":"response.completed","x":[{"done":true},"]}"]}`

// wholeAnswers are answers as servers send them. Up to the end of the line that
// holds the last word they are not whole; trailer is what may follow.
var wholeAnswers = []struct {
	name string
	word LastWord
	text string
}{
	{"chat", doneTrue, `{"model":"m","created_at":"2026","message":{"role":"assistant","content":` + hostile + `},"done":false}` + "\n" +
		`{"model":"m","created_at":"2026","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"done","arguments":` + arguments + `}}]},"done":false}` + "\n" +
		`{"model":"m","created_at":"2026","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":5,"eval_count":5}` + "\n"},
	{"generate", doneTrue, `{"model":"m","response":"a","done":false}` + "\n" + `{"model":"m","response":` + hostile + `,"done":true,"context":[` + strings.Repeat("101,", 300) + `1],"eval_count":5}` + "\n"},
	{"an odd order", doneTrue, `{"done":false,"context":[` + strings.Repeat("101,", 300) + `1],"response":"a"}` + "\r\n" + `{ "context" : [ ` + strings.Repeat("101, ", 300) + `1 ] , "response":"" , "done" : true }` + "\r\n"},
	{"pull", success, `{"status":"pulling manifest"}` + "\n" + `{"status":"pulling success","digest":"success","total":5,"completed":3}` + "\n" + `{"status":"success"}` + "\n"},
	{"several pulls", success, `{"digest":"a@gpu1","status":"gpu1: success","upstream":"gpu1"}` + "\n" + `{"status":"success"}` + "\n"},
	{"completions", doneMark, `data: {"id":"1","choices":[{"delta":{"content":` + hostile + `}}],"error":null}` + "\n\n" + `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\n" + `data: {"choices":[],"usage":{}}` + "\n\ndata: [DONE]\n\n"},
	{"no spaces, CRLF, comments", doneMark, ": ping\r\n\r\n" + `data:{"choices":[{"delta":{"content":` + hostile + `}}]}` + "\r\n\r\n: ping\r\n\r\nid: 7\r\nretry: 5\r\ndata:[DONE]\r\n\r\n"},
	{"CR", doneMark, `data: {"choices":[]}` + "\r\r" + `data: {"choices":[]}` + "\r\r" + "data: [DONE]\r\r"},
	{"long events", doneMark, `data: {"choices":[{"delta":{"content":"` + strings.Repeat(`\\\"`, 800) + `"}}]}` + "\n\ndata: [DONE]\n\n"},
	{"messages", messageStop, "event: message_start\n" + `data: {"type":"message_start","message":{"type":"message_stop","usage":{}}}` + "\n\nevent: content_block_delta\n" + `data: {"type":"content_block_delta","delta":{"text":` + hostile + `,"type":"error"}}` + "\n\nevent: message_stop\n" + `data: {"type":"message_stop"}` + "\n\n"},
	{"messages and a mark", messageStop, "event: ping\ndata: {}\n\ndata: [DONE]\n\nevent: message_stop\n" + `data: {"type":"message_stop"}` + "\n\n"},
	{"unnamed messages", messageStop, `data: {"delta":{"text":"","type":"message_stop"},"type":"content_block_delta"}` + "\n\n" + `data: {"type" : "message_stop"}` + "\n\n"},
	{"named afterwards", messageStop, `data: {"index":0}` + "\nevent: content_block_stop\n\ndata: {}\nevent: message_stop\n\n"},
	{"responses", responseEnd, "event: response.created\n" + `data: {"response":{"error":null,"type":"response.completed"},"sequence_number":0,"type":"response.created"}` + "\n\nevent: response.output_text.delta\n" + `data: {"delta":` + hostile + `,"sequence_number":1,"type":"response.output_text.delta"}` + "\n\nevent: response.completed\n" + `data: {"response":{"output":[{"text":"` + strings.Repeat("a", 3000) + `"}]},"sequence_number":2,"type":"response.completed"}` + "\n\n"},
	{"unnamed responses", responseEnd, `data: {"type":"response.created","sequence_number":0}` + "\n\n" + `data: {"response":{"output":[` + arguments + `,` + hostile + `]},"sequence_number":2,"type":"response.completed"}` + "\n\n"},
	{"a limit", responseEnd, "event: response.incomplete\n" + `data: {"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"}}}` + "\n\n"},
	{"data in lines", responseEnd, "data: {\ndata: \"type\":\ndata:  \"response.completed\"}\n\n"},
}

// TestEveryCutOfAStream: no beginning of an answer is whole, and all of it is, in
// whatever pieces it comes and whatever comments follow.
func TestEveryCutOfAStream(t *testing.T) {
	t.Parallel()
	for _, a := range wholeAnswers {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			end := len(strings.TrimRight(a.text, "\r\n")) + 1 // of the last word's line
			if a.word.Lines() {
				end = strings.LastIndexByte(a.text, '}') + 1 // nobody waits for the line's end
			}
			if a.name == "CR" || a.name == "named afterwards" || a.name == "data in lines" {
				end = 0
			}
			for cut := range len(a.text) + 1 {
				want := ErrTruncated
				if cut >= end {
					want = nil
				}
				p := pieces(a.text[:cut], cut/2, 7)
				for _, chunks := range [][]string{{a.text[:cut]}, p} {
					if _, err := follow(a.word, chunks...); err != want && (end > 0 || cut == len(a.text)) {
						t.Fatalf("cut after %d of %d bytes, %d chunks, %q: %v, want %v", cut, len(a.text), len(chunks), a.text[max(0, cut-30):cut], err, want)
					}
				}
				if _, err := follow(a.word, a.text[:cut], a.text[cut:]); err != nil {
					t.Fatalf("in two pieces, the first of %d bytes: %v", cut, err)
				}
			}
			for n := range 40 {
				for _, more := range []string{"", "\n", "\r\n\r\n", ": bye\n\n", "\n" + strings.Repeat(": ping\n\n", 500)} {
					if _, err := follow(a.word, pieces(a.text+more, 0, n+1)...); err != nil && (more == "" || !a.word.Lines() || more[0] != ':') {
						t.Fatalf("in pieces of %d bytes, followed by %q: %v", n+1, more[:min(9, len(more))], err)
					}
				}
			}
		})
	}
}

// TestStreamsThatAreNotWhole: what only looks like the last word is none.
func TestStreamsThatAreNotWhole(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		word LastWord
		text string
	}{
		{doneTrue, ""}, {success, ""}, {doneMark, ""}, {messageStop, ""}, {responseEnd, ""},
		{doneTrue, "\n\n"}, {doneMark, ": ping\n\n"},
		{doneTrue, `{"done":false}` + "\n"},
		{doneTrue, `{"done":"true"}` + "\n"},
		{doneTrue, `{"done":true,"done":false}` + "\n"},
		{doneTrue, `{"Done":true,"done_reason":"stop","undone":true,"do":true}` + "\n"},
		{doneTrue, `{"message":` + arguments + `,"done":false}` + "\n"},
		{doneTrue, `{"message":` + arguments + `}` + "\n"},
		{doneTrue, `[{"done":true}]` + "\n"},
		{doneTrue, `"done":true}` + "\n"},
		{doneTrue, `{"done":true` + "\n"},
		{doneTrue, `{"a":"","a":{"done":true}` + "\n"},
		{doneTrue, `{"status":"success"}` + "\n"},
		{success, `{"done":true}` + "\n"},
		{success, `{"status":"gpu1: success"}` + "\n"},
		{success, `{"status":["success"],"x":"success"}` + "\n"},
		{success, `{"status":"success` + strings.Repeat(" ", 40) + `"}` + "\n"},
		{doneMark, "[DONE]\n\n"},
		{doneMark, "x: data: [DONE]\n\n"},
		{doneMark, ": data: [DONE]\n\n"},
		{doneMark, `data: {"done":true}` + "\n\n"},
		{doneMark, `data: "[DONE]"` + "\n\n"},
		{doneMark, "data: [DONE] " + strings.Repeat("x", 30) + "\n\n"},
		{doneMark, "data: [DONE"},
		{doneMark, "data: [DONE]"},
		{doneMark, `data: {"id":"1","model":"","choices":[]}` + "\n\n"},
		{messageStop, "event: message_stop\n\n"},
		{messageStop, "event: message_stop\n\ndata: {}\n\n"},
		{messageStop, "event: message_stop\n" + `data: {"type":"message_stop"}`},
		{messageStop, "data: [DONE]\n\n"},
		{messageStop, "event: message_stopped\ndata: {}\n\n"},
		{messageStop, `data: {"message":{"type":"message_stop"}}` + "\n\n"},
		{messageStop, "id: message_stop\ndata: {}\n\n"},
		{responseEnd, "data: [DONE]\n\n"},
		{responseEnd, "event: response.completed.not\ndata: {}\n\n"},
		{responseEnd, `data: {"response":{"type":"response.completed"},"sequence_number":1}` + "\n\n"},
		{responseEnd, "event: response.output_text.done\n" + `data: {"text":` + hostile + `}` + "\n\n"},
	} {
		for n := range 12 {
			if _, err := follow(c.word, pieces(c.text, 0, n*n+1)...); err != ErrTruncated {
				t.Errorf("%d %q in pieces of %d bytes: %v", c.word, c.text, n*n+1, err)
			}
		}
	}
}

// TestErrorsAsTheLastWord: they are Ollama's, not ours to add to.
func TestErrorsAsTheLastWord(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("why ", 1000)
	for _, c := range []struct {
		word   LastWord
		text   string
		failed bool
	}{
		{doneTrue, `{"error":"unexpected EOF"}` + "\n", true},
		{doneTrue, `{"error":"` + long + `"}` + "\n", true},
		{doneTrue, `{"error":"x","done":false}` + "\n", true},
		{doneTrue, `{"error":"x","done":false}` + "\n" + strings.Repeat("\n", 2000), true},
		{doneTrue, `{"error":"x"}` + "\n" + `{"done":true}` + "\n", true},
		{doneTrue, `{"error":"x"}`, true},
		{doneTrue, `{"error":""}` + "\n", false},
		{doneTrue, `{"error":null}` + "\n", false},
		{doneTrue, `{"message":{"error":"x"}}` + "\n", false},
		{doneTrue, `{"error":"x"}` + "\n" + `{"response":"on and on","done":false}` + "\n", false},
		{success, `{"status":"pulling"}` + "\n" + `{"error":"no such file"}` + "\n", true},
		{success, `{"error":"gpu1: no space; done on gpu2"}` + "\n", true},
		{doneMark, `data: {"error":{"message":"x"}}` + "\n\n", true},
		{doneMark, `data: {"id":"1","choices":[],"error":{"message":"x"}}` + "\n\n", true},
		{doneMark, `data: {"id":"1","choices":[],"error":{"message":"x"}}` + "\n\n" + strings.Repeat(": ping\n\n", 300), true},
		{doneMark, `data: {"error":{"message":"` + long + `"}}` + "\n\n", true},
		{doneMark, `data: {"error":{"message":"x"}}` + "\n\ndata: [DONE]\n\n", true},
		{doneMark, "event: error\ndata: {}\n\n", true},
		{doneMark, "event: error\ndata: oops\n\n", true},
		{doneMark, "data: {}\nevent: error\n\n", true},
		{doneMark, `data: {"error":{"message":"x"}}`, false},
		{doneMark, `data: {"error":{"message":"x"}}` + "\n", false},
		{messageStop, "event: error\ndata: {}\n", false},
		{doneMark, `data: {"error":null}` + "\n\n", false},
		{messageStop, "event: error\n" + `data: {"type":"error","error":{"type":"api_error","message":"x"}}` + "\n\n", true},
		{messageStop, `data: {"type":"error","error":{}}` + "\n\n", true},
		{messageStop, "event: error\n\n", false},
		{responseEnd, "event: error\n" + `data: {"type":"error","message":"x","sequence_number":3}` + "\n\n", true},
		{responseEnd, "event: response.failed\n" + `data: {"type":"response.failed","response":{}}` + "\n\n", true},
		{responseEnd, `data: {"response":{"output":"` + long + `"},"type":"response.failed"}` + "\n\n", true},
		{responseEnd, `data: {"error":{"code":500,"message":"x"}}` + "\n\n", true},
		{responseEnd, "event: response.created\n" + `data: {"response":{"error":{"message":"x"}},"sequence_number":0}` + "\n\n", false},
	} {
		want := map[bool]error{true: ErrReported, false: ErrTruncated}[c.failed]
		for n := range 12 {
			if _, err := follow(c.word, pieces(c.text, 0, n*n+1)...); err != want {
				t.Errorf("%d %q in pieces of %d bytes: %v", c.word, c.text[:min(len(c.text), 90)], n*n+1, err)
			}
		}
		if _, err := follow(c.word, c.text); err != want {
			t.Errorf("%d %q: %v", c.word, c.text[:min(len(c.text), 90)], err)
		}
	}
}

// TestTheNumberOfTheNextEvent of /v1/responses is one more than that of the last
// one, wherever in the event it stands.
func TestTheNumberOfTheNextEvent(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 4000)
	for text, next := range map[string]int64{
		"":                       0,
		": waiting\n\n":          0,
		"data: {}\n\n":           0,
		"event: x\ndata: {}\n\n": 0,
		"event: x\n" + `data: {"sequence_number":0,"type":"x"}` + "\n\n":                                  1,
		"event: x\n" + `data: {"delta":"\"sequence_number\":7","sequence_number":41,"type":"x"}` + "\n\n": 42,
		"event: x\n" + `data: {"type":"x","sequence_number":41,"text":"` + long + `"}` + "\n\n":           42,
		"event: x\n" + `data: {"text":"` + long + `","sequence_number":41,"type":"x"}` + "\n\n":           42,
		"event: x\n" + `data: {"item":{"sequence_number":7},"sequence_number": 41}` + "\n\n":              42,
		"event: x\n" + `data: {"sequence_number":41}` + "\n\nevent: ping\ndata: {}\n\n":                   42,
		"event: x\n" + `data: {"sequence_number":41}` + "\n\n" + strings.Repeat(": ping\n\n", 300):        42,
		"event: x\n" + `data: {"sequence_number":41}` + "\n\nevent: y\n" + `data: {"sequence_number":42`:  42,
		"event: x\n" + `data: {"sequence_number":-1}` + "\n\n":                                            0,
		"event: x\n" + `data: {"sequence_number":"5"}` + "\n\n":                                           0,
		"event: x\n" + `data: {"sequence_number":99999999999999999999}` + "\n\n":                          0,
	} {
		for _, n := range []int{1, 5, 90, 1 << 20} {
			p, _ := follow(responseEnd, pieces(text, 0, n)...)
			if p.Ending.Next != next {
				t.Errorf("%q in pieces of %d bytes: %d, want %d", text[:min(len(text), 120)], n, p.Ending.Next, next)
			}
		}
	}
}

// TestFollowingAllocatesNothing, and what it keeps is 1 KiB with the tail.
func TestFollowingAllocatesNothing(t *testing.T) {
	if size := unsafe.Sizeof(Passage{}); size > 1024 {
		t.Errorf("%d bytes", size)
	}
	for _, a := range wholeAnswers {
		chunks := pieces(a.text, 0, 50)
		whole := []byte(a.text)
		var p Passage
		if n := testing.AllocsPerRun(10, func() {
			p.Ending.Expect(a.word)
			p.Add(whole)
			p.N = 0
			for _, c := range chunks {
				p.Add(unsafe.Slice(unsafe.StringData(c), len(c)))
			}
			if p.Ending.Verdict(&p.Tail) != nil {
				t.Error(a.name)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", a.name, n)
		}
	}
}

// FuzzEnding: what becomes of a stream does not depend on how it is cut into
// chunks.
func FuzzEnding(f *testing.F) {
	for _, a := range wholeAnswers {
		f.Add(uint8(a.word), a.text, uint16(30), uint16(9))
	}
	f.Add(uint8(doneMark), "data: {\"error\":1}\nevent: x\n\n", uint16(3), uint16(300))
	f.Add(uint8(doneTrue), "{\"error\":1,\"done\":false}\r{\"done\":true}\r\n", uint16(3), uint16(300))
	f.Fuzz(func(t *testing.T, word uint8, text string, first, size uint16) {
		w := LastWord(word % 6)
		_, want := follow(w, pieces(text, 0, 1)...)
		cut := min(int(first), len(text))
		for _, chunks := range [][]string{{text}, pieces(text, cut, int(size)+1), strings.SplitAfter(text, "\n")} {
			if _, err := follow(w, chunks...); err != want {
				t.Fatalf("%d: %v in %q; %v byte by byte", w, err, chunks, want)
			}
		}
	})
}

// FuzzObject: of an object that is JSON the same is read as by encoding/json.
func FuzzObject(f *testing.F) {
	f.Add(arguments)
	f.Add(`{"error":{"a":[1,"}"]},"done":true,"status":"success","type":"error","sequence_number":5}`)
	f.Add(`{"done":true,"d\\\"":{"done":false},"type":"` + strings.Repeat("x", 30) + `" , "error" : 0 }`)
	f.Fuzz(func(t *testing.T, text string) {
		var want map[string]json.RawMessage
		// Names with escapes, which no server sends, are not understood.
		if strings.Contains(text, `\`) || json.Unmarshal([]byte(text), &want) != nil || want == nil {
			return
		}
		for _, w := range []LastWord{doneTrue, success, doneMark, responseEnd} {
			o := object{word: w}
			for _, c := range pieces(text, len(text)/2, 3) {
				o.read([]byte(c))
			}
			if !o.isWhole() {
				t.Fatalf("%q is not whole", text)
			}
			last := w == doneTrue && string(want["done"]) == "true" || w == success && string(want["status"]) == `"success"`
			if o.last != last {
				t.Errorf("%q is the last word of %d: %t", text, w, o.last)
			}
			failed := !slices.Contains([]string{"", "null", "false", "0", `""`}, string(want["error"]))
			if o.failed != failed {
				t.Errorf("%q is an error: %t", text, o.failed)
			}
			if isError := string(want["type"]) == `"error"`; w == responseEnd && (o.typed == failing) != (isError || string(want["type"]) == `"response.failed"`) {
				t.Errorf("%q is of type %d", text, o.typed)
			}
			var n int64
			if err := json.Unmarshal(want["sequence_number"], &n); o.numbered != (err == nil && want["sequence_number"][0] != 'n' && n >= 0 && n < maxSequence) || o.numbered && o.sequence != n {
				t.Errorf("%q has the number %d, %t", text, o.sequence, o.numbered)
			}
		}
	})
}

// BenchmarkFollow is what it costs to follow a stream, by the chunk: one of a
// token, and one of 32 KiB that are full of them.
func BenchmarkFollow(b *testing.B) {
	for name, c := range map[string]struct {
		word LastWord
		text string
	}{
		"native":       {doneTrue, `{"model":"llama3.2","created_at":"2026-11-25T00:00:00.123456789Z","message":{"role":"assistant","content":" word"},"done":false}` + "\n"},
		"openai":       {doneMark, `data: {"id":"chatcmpl-123","object":"chat.completion.chunk","created":1764028800,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":" word"},"finish_reason":null}]}` + "\n\n"},
		"anthropic":    {messageStop, "event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}` + "\n\n"},
		"responses":    {responseEnd, "event: response.output_text.delta\n" + `data: {"content_index":0,"delta":" word","item_id":"msg_123456","logprobs":[],"output_index":0,"sequence_number":12,"type":"response.output_text.delta"}` + "\n\n"},
		"pull":         {success, `{"status":"pulling dde5aa3fc5ff","digest":"sha256:dde5aa3fc5ffc17176b5e8bdc82f587b24b2678c6c66101bf7da77af9f7ccdff","total":2019377376,"completed":123456789}` + "\n"},
		"long text":    {responseEnd, "event: response.output_text.done\n" + `data: {"text":"` + strings.Repeat("many words, and \\n lines. ", 4000) + `","sequence_number":9}` + "\n\n"},
		"not followed": {NoLastWord, `{"embedding":[1,2,3,4]}` + "\n"},
	} {
		many := bytes.Repeat([]byte(c.text), 32<<10/len(c.text)+1)[:32<<10]
		for size, chunk := range map[string][]byte{"token": []byte(c.text), "32 KiB": many} {
			b.Run(fmt.Sprintf("%s/%s", name, size), func(b *testing.B) {
				p := new(Passage)
				p.Ending.Expect(c.word)
				b.SetBytes(int64(len(chunk)))
				b.ReportAllocs()
				for b.Loop() {
					p.Add(chunk)
				}
			})
		}
	}
}
