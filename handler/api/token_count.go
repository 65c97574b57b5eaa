package api

import (
	"bytes"
	"strconv"
)

// Passage follows an answer that is relayed, in 1 KiB of memory: it keeps the last bytes,
// and tells at the end whether the stream was complete. Set Tail.N to 0 and call
// Ending.Expect before the first chunk.
type Passage struct {
	Tail
	Ending ending
}

// Add follows one more chunk. It keeps no reference to it.
func (p *Passage) Add(chunk []byte) {
	p.Ending.add(chunk, &p.Tail)
	p.Tail.add(chunk)
}

// tailLen is the number of bytes that are kept of an answer's end: 872, to read the token
// counts from. They are at the end of the last line or event, so the rest of it, such as
// the context of /api/generate, need not fit.
const tailLen = 1<<10 - 152

// Tail holds the last bytes of an answer that were relayed: N of them, 872 at most.
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

// Last returns a byte by its place from the end, counted from 1, or 0 if fewer bytes are
// kept.
func (t *Tail) Last(place int) byte {
	if t.N < place {
		return 0
	}
	return t.bytes[t.N-place]
}

// Tokens returns how many tokens Ollama counted in the prompt and in its answer. A count
// that the tail does not have is 0.
func (t *Tail) Tokens(d Dialect) (prompt, completion int64) {
	end, keys := t.bytes[:t.N], tokenKeys[d]
	return count(end, keys.prompt), count(end, keys.completion)
}

// tokenKeys are the JSON keys of the token counts in each dialect.
var tokenKeys = [...]struct{ prompt, completion []byte }{
	Native:    {[]byte(`"prompt_eval_count":`), []byte(`"eval_count":`)},
	openAI:    {[]byte(`"prompt_tokens":`), []byte(`"completion_tokens":`)},
	responses: {[]byte(`"input_tokens":`), []byte(`"output_tokens":`)},
	anthropic: {[]byte(`"input_tokens":`), []byte(`"output_tokens":`)},
}

// count returns the last number with the key, or 0. The text of a model cannot forge a
// key: in a JSON string its quotes are escaped. The arguments of a tool call can, but
// they come before Ollama's own counts.
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
