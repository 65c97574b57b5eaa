package upstream

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"
)

const (
	// maxConversations is how many conversations are remembered at most: 32,768, in
	// 256 KiB. Two that fall on the same place forget each other.
	maxConversations = 1 << 15

	// maxPrefix is how much of a conversation's beginning tells it from
	// others: 64 KiB of messages, or the first 512 bytes of a prompt.
	maxPrefix = 64 << 10
	maxPrompt = 512
)

// affinity remembers which backend served a conversation last. A place holds what
// is left of the conversation's hash and, in the last 16 bits, the backend's id.
type affinity struct {
	seed  maphash.Seed
	slots [maxConversations]atomic.Uint64
}

func newAffinity() *affinity { return &affinity{seed: maphash.MakeSeed()} }

// Conversation stands for one conversation; 0 for none.
type Conversation uint64

const idBits = 1<<16 - 1

func (t *affinity) slot(k Conversation) *atomic.Uint64 { return &t.slots[(k>>48)%maxConversations] }

// last is the backend that served it last; 0: none that is known.
func (t *affinity) last(k Conversation) uint16 {
	if k == 0 {
		return 0
	}
	if v := t.slot(k).Load(); v&^idBits == uint64(k)&^idBits {
		return uint16(v)
	}
	return 0
}

func (t *affinity) remember(k Conversation, id uint16) {
	if k == 0 {
		return
	}
	slot, v := t.slot(k), uint64(k)&^idBits|uint64(id)
	if slot.Load() != v {
		slot.Store(v)
	}
}

// ConversationOf tells which conversation a request for a chat belongs to: each of its requests
// repeats how it began. What begins alike under one key is taken for the same, which
// does no harm: it has the same prompt cache.
func (t *affinity) ConversationOf(x *Request, key [16]byte) Conversation {
	opening := prefix(x.Body.Small.First)
	model := x.Model.Load()
	if opening == nil || model == nil {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(t.seed)
	h.Write(key[:])
	h.WriteString(*model)
	h.WriteByte(0)
	h.Write(opening)
	return Conversation(h.Sum64() | idBits + 1) // not 0
}

// prefix is the part of a body that a conversation's every request begins with:
// its messages up to the user's first, or the start of its prompt. Nil if there
// is nothing that looks like it. It may be wrong, as long as it is quick: a
// wrong guess costs Ollama some work at worst.
func prefix(body []byte) []byte {
	for _, key := range [...]string{`"messages"`, `"input"`, `"prompt"`} {
		i := bytes.Index(body, []byte(key))
		if i < 0 {
			continue
		}
		rest := bytes.TrimLeft(body[i+len(key):], " \t\r\n:")
		switch {
		case len(rest) == 0:
		case rest[0] == '[':
			return firstTurn(rest[:min(len(rest), maxPrefix)])
		case rest[0] == '"':
			return rest[:min(len(rest), maxPrompt)]
		}
	}
	return nil
}

// firstTurn cuts a list of messages after the first one that is the user's.
func firstTurn(list []byte) []byte {
	depth, start, inString := 0, 0, false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			if depth++; depth == 2 {
				start = i
			}
		case c == ']' || c == '}':
			if depth--; depth == 1 && bytes.Contains(list[start:i], []byte(`"user"`)) {
				return list[:i]
			}
			if depth == 0 {
				return list[:i]
			}
		}
	}
	return list
}
