package api

import (
	"bytes"
	"strconv"
)

// Passage is what is kept of an answer as it passes: 1 KiB of memory.
type Passage struct {
	Tail
	Ending ending
}

func (p *Passage) Add(chunk []byte) {
	p.Ending.add(chunk, &p.Tail)
	p.Tail.add(chunk)
}

// tailLen is how much of an answer's end is kept to read its token counts
// from. They stand in the last line or event; what may come before them
// there, such as the context of /api/generate, need not fit.
const tailLen = 1<<10 - 152

// Tail is the last bytes that were passed on.
type Tail struct {
	bytes [tailLen]byte
	N     int
}

func (t *Tail) add(chunk []byte) {
	if len(chunk) > tailLen {
		chunk = chunk[len(chunk)-tailLen:]
	}
	if excess := t.N + len(chunk) - tailLen; excess > 0 {
		t.N = copy(t.bytes[:], t.bytes[excess:t.N])
	}
	t.N += copy(t.bytes[t.N:], chunk)
}

// Last is the byte at the given place from the end, 1 being the last; 0 if
// there are not so many.
func (t *Tail) Last(place int) byte {
	if t.N < place {
		return 0
	}
	return t.bytes[t.N-place]
}

// Tokens reads how many tokens Ollama counted in the prompt and in its answer.
// What it does not say is 0.
func (t *Tail) Tokens(d Dialect) (prompt, completion int64) {
	end, keys := t.bytes[:t.N], tokenKeys[d]
	return count(end, keys.prompt), count(end, keys.completion)
}

// tokenKeys are the names of the counts, as they stand in JSON.
var tokenKeys = [...]struct{ prompt, completion []byte }{
	Native:    {[]byte(`"prompt_eval_count":`), []byte(`"eval_count":`)},
	openAI:    {[]byte(`"prompt_tokens":`), []byte(`"completion_tokens":`)},
	responses: {[]byte(`"input_tokens":`), []byte(`"output_tokens":`)},
	anthropic: {[]byte(`"input_tokens":`), []byte(`"output_tokens":`)},
}

// count finds the last number that stands under a key. Text that a model wrote
// cannot pass for a key: in a JSON string its quotes are escaped. The arguments of
// a tool can, but they come before Ollama's counts.
func count(b, key []byte) int64 {
	end := bytes.LastIndexByte(b, ':') // of the key; bytes.LastIndex(b, key) takes ten times as long
	for end >= 0 && !bytes.HasSuffix(b[:end+1], key) {
		end = bytes.LastIndexByte(b[:end], ':')
	}
	if end < 0 {
		return 0
	}
	b = bytes.TrimLeft(b[end+1:], " ")
	digits := 0
	for digits < len(b) && '0' <= b[digits] && b[digits] <= '9' {
		digits++
	}
	n, err := strconv.ParseInt(string(b[:digits]), 10, 32)
	if err != nil {
		return 0
	}
	return n
}
