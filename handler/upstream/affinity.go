package upstream

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"
)

const (
	// maxConversations is how many conversations are remembered at most: 32,768, in 256
	// KiB. Two that share a slot overwrite each other.
	maxConversations = 1 << 15

	// maxPrefix is how much of a conversation's beginning is hashed at most: 64 KiB of
	// messages, or the first 512 bytes of a prompt.
	maxPrefix = 64 << 10
	maxPrompt = 512
)

// affinity remembers which backend served a conversation last, so that the conversation
// finds its prompt cache again. A slot holds the upper 48 bits of the conversation's
// hash and, in the lower 16, the id of the backend. It is safe for concurrent use,
// without a lock.
type affinity struct {
	seed  maphash.Seed
	slots [maxConversations]atomic.Uint64
}

func newAffinity() *affinity { return &affinity{seed: maphash.MakeSeed()} }

// Conversation is the hash of a conversation's beginning; 0: there is none. Its lower 16
// bits are 0, its upper ones choose the slot.
type Conversation uint64

const idBits = 1<<16 - 1

// slot returns the slot of a conversation.
func (a *affinity) slot(k Conversation) *atomic.Uint64 { return &a.slots[(k>>48)%maxConversations] }

// last returns the id of the backend that served the conversation last, or 0 if that is
// not known.
func (a *affinity) last(k Conversation) uint16 {
	if k == 0 {
		return 0
	}
	if v := a.slot(k).Load(); v&^idBits == uint64(k)&^idBits {
		return uint16(v)
	}
	return 0
}

// remember stores that the backend served the conversation. It writes only what has
// changed, so that processors need not exchange the slot's cache line.
func (a *affinity) remember(k Conversation, id uint16) {
	if k == 0 {
		return
	}
	slot, v := a.slot(k), uint64(k)&^idBits|uint64(id)
	if slot.Load() != v {
		slot.Store(v)
	}
}

// ConversationOf returns the conversation that a request of a key belongs to: each
// request repeats the beginning. Conversations that begin alike under one key count as
// one, which does no harm, because they share a prompt cache. It returns 0 if the body
// is not in memory, or is no chat.
func (a *affinity) ConversationOf(x *Request, key [16]byte) Conversation {
	opening := prefix(x.Body.Small.First)
	model := x.Model.Load()
	if opening == nil || model == nil {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(a.seed)
	h.Write(key[:])
	h.WriteString(*model)
	h.WriteByte(0)
	h.Write(opening)
	return Conversation(h.Sum64() | idBits + 1) // not 0
}

// prefix returns the part of a body that all requests of its conversation begin with:
// the messages up to the first of the user, or the start of the prompt. It returns nil
// if there is none. It searches instead of parsing: if it is wrong, the prompt cache is
// missed at worst.
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

// firstTurn cuts a list of messages after the first one by the user.
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
