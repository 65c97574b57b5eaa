package upstream

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/ollama-proxy/ollama-proxy/handler/models"
)

// maxConversations is how many conversations are remembered at most: 32,768, in 256
// KiB. Two that share a slot overwrite each other.
const maxConversations = 1 << 15

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
	opening := models.ConversationPrefix(x.Body.Small.First)
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
