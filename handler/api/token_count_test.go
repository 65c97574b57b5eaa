package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// endings are the last lines, or events, of Ollama's answers: with text that a
// model wrote, an argument for a tool that it named, and the counts.
var endings = []struct {
	dialect Dialect
	write   func(text, argument string, prompt, completion int) string
}{
	{Native, func(text, argument string, p, c int) string {
		return fmt.Sprintf(`{"model":"tiny","message":{"role":"assistant","content":%s,"tool_calls":[{"function":{"name":"f","arguments":{%s:999}}}]},"done":true,"done_reason":"stop","total_duration":5,"prompt_eval_count":%d,"prompt_eval_duration":7,"eval_count":%d,"eval_duration":9}`+"\n", quote(text), quote(argument), p, c)
	}},
	{Native, func(text, argument string, p, c int) string {
		return fmt.Sprintf(`{"model":"tiny","response":%s,"done":true,"done_reason":%s,"context":[1,2,3],"prompt_eval_count":%d,"eval_count":%d}`, quote(text), quote(argument), p, c)
	}},
	{openAI, func(text, argument string, p, c int) string {
		arguments := quote(fmt.Sprintf(`{%s:999}`, quote(argument)))
		return fmt.Sprintf(`{"choices":[{"message":{"content":%s,"tool_calls":[{"function":{"name":"f","arguments":%s}}]}}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`, quote(text), arguments, p, c, p+c)
	}},
	{openAI, func(text, argument string, p, c int) string {
		return fmt.Sprintf("data: {\"choices\":[{\"delta\":{\"content\":%s}}],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\": %d, \"completion_tokens\": %d}}\n\ndata: [DONE]\n\n", quote(text+argument), p, c)
	}},
	{anthropic, func(text, argument string, p, c int) string {
		return fmt.Sprintf(`{"type":"message","content":[{"type":"text","text":%s},{"type":"tool_use","input":{%s:999}}],"stop_reason":"tool_use","usage":{"input_tokens":%d,"output_tokens":%d}}`, quote(text), quote(argument), p, c)
	}},
	{responses, func(text, argument string, p, c int) string {
		return fmt.Sprintf("event: response.completed\ndata: {\"response\":{\"output\":[{\"text\":%s}],\"usage\":{\"input_tokens\":%d,\"input_tokens_details\":{\"cached_tokens\":1},\"output_tokens\":%d,\"output_tokens_details\":{\"reasoning_tokens\":2}}}}\n\n", quote(text+argument), p, c)
	}},
}

func quote(text string) string {
	data, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// FuzzTail: the tail of an answer tells what Ollama counted, in whatever pieces
// it came, and whatever the model wrote before; and it is the tail.
func FuzzTail(f *testing.F) {
	for i := range endings {
		f.Add(uint8(i), "Hello!", "city", uint32(26), uint32(259), uint16(1))
		for _, size := range []uint16{0, 6, tailLen/2 - 1, tailLen - 2, tailLen - 1, tailLen, 2*tailLen - 1, 1 << 12} {
			f.Add(uint8(i), strings.Repeat("a", 5000), "city", uint32(3), uint32(4), size)
		}
		for _, name := range []string{"prompt_eval_count", "eval_count", "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"} {
			f.Add(uint8(i), `{"`+name+`":999}`, name, uint32(1), uint32(2), uint16(7))
			f.Add(uint8(i), `\","`+name+`":999,"`, name+`":9,"`, uint32(1<<31-1), uint32(1), uint16(1023))
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, text, argument string, prompt, completion uint32, size uint16) {
		e := endings[int(kind)%len(endings)]
		p, c := int(prompt&(1<<31-1)), int(completion&(1<<31-1))
		answer := []byte(e.write(text, argument, p, c))
		var whole Tail
		for part := range slices.Chunk(answer, int(size)+1) {
			whole.add(part)
		}
		if gotP, gotC := whole.Tokens(e.dialect); gotP != int64(p) || gotC != int64(c) {
			t.Errorf("%q counts as %d and %d", answer, gotP, gotC)
		}
		kept := whole.bytes[:whole.N]
		if !bytes.HasSuffix(answer, kept) || len(kept) < min(len(answer), tailLen) || whole.Last(1) != answer[len(answer)-1] {
			t.Errorf("%q is not the tail of %q", kept, answer)
		}
		var broken Tail
		broken.add(answer[:min(len(text), len(answer))])
		broken.add([]byte(text))
		broken.Tokens(e.dialect)
	})
}
