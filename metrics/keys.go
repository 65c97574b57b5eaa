package metrics

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxKeys bounds how many keys have series of their own, counting each label of a
	// key.
	maxKeys = 1000

	// maxNames bounds how many series the labels and the ids of one key's family may
	// take. Whoever has a key can make any number of narrower ones, each with an id and
	// perhaps a label of its own, and would crowd out all others.
	maxNames = 16
)

// keys counts by key: by its label and by its id, which for a narrowed key is the UUID of
// its head, "~" and its own id. Label and own id may be the word of any holder of a key;
// the head is not. The number of a key is its index in slots: 0 counts nothing, and the
// last slot counts all keys beyond maxKeys.
type keys struct {
	requests    *prometheus.CounterVec
	tokens      *prometheus.CounterVec
	streamBytes *prometheus.CounterVec
	slots       [maxKeys + 2]keyCounters

	index atomic.Pointer[keyIndex]
	addMu sync.Mutex // held to add a slot
}

type keyCounters struct {
	requests, tokens, streamBytes prometheus.Counter
}

// keyName identifies the series of a key. If its family has maxNames of them already, the
// name is the head alone.
type keyName struct {
	head, narrowed [16]byte // narrowed is zero where there is none
	label          string
}

// isOfHead reports whether nothing but the head is in the name.
func (n keyName) isOfHead() bool { return n == keyName{head: n.head} }

// id is the name without the label, as text.
func (n keyName) id() string {
	if n.narrowed == ([16]byte{}) {
		return formatID(n.head)
	}
	return formatID(n.head) + "~" + formatID(n.narrowed)
}

// keyIndex maps keys to slots. It is immutable, so that looking a key up needs no lock.
type keyIndex struct {
	byName map[keyName]int
	taken  map[[16]byte]int // the number of names by head, those that are a head alone left out
}

func newKeys() *keys {
	k := &keys{
		requests:    counters("key_requests_total", "Requests with a valid key, by its label (empty: none) and its id, after which ~ and an id of its own stand if it was narrowed.", "key", "id"),
		tokens:      counters("key_tokens_total", "Tokens of prompts and answers, by the key's label (empty: none) and its id, after which ~ and an id of its own stand if it was narrowed.", "key", "id"),
		streamBytes: counters("key_stream_bytes_total", "Bytes of Ollama's answers, as they pass, by the key's label (empty: none) and its id, after which ~ and an id of its own stand if it was narrowed.", "key", "id"),
	}
	k.setSlot(maxKeys+1, other, other)
	k.index.Store(&keyIndex{map[keyName]int{}, map[[16]byte]int{}})
	return k
}

// setSlot creates the series of a slot.
func (k *keys) setSlot(slot int, label, id string) {
	k.slots[slot] = keyCounters{k.requests.WithLabelValues(label, id), k.tokens.WithLabelValues(label, id), k.streamBytes.WithLabelValues(label, id)}
}

// find returns the slot of a key, and adds one for a new key while there are fewer than
// maxKeys.
func (k *keys) find(head, narrowed [16]byte, label []byte) int {
	if slot := k.index.Load().find(head, narrowed, label); slot > 0 {
		return slot
	}
	k.addMu.Lock()
	defer k.addMu.Unlock()
	old := k.index.Load()
	if slot := old.find(head, narrowed, label); slot > 0 {
		return slot
	}
	p := keyIndex{maps.Clone(old.byName), maps.Clone(old.taken)}
	name := keyName{head, narrowed, string(label)}
	if p.taken[head] >= maxNames {
		name = keyName{head: head}
	}
	if !name.isOfHead() {
		p.taken[head]++
	}
	slot := len(p.byName) + 1
	p.byName[name] = slot
	k.setSlot(slot, name.label, name.id())
	k.index.Store(&p)
	return slot
}

// formatID returns the id as a UUID.
func formatID(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// find returns the slot of a key, or 0 if one must be added.
func (p *keyIndex) find(head, narrowed [16]byte, label []byte) int {
	slot, ok := p.byName[keyName{head, narrowed, string(label)}] // without a copy of the label
	if !ok && p.taken[head] >= maxNames {
		slot, ok = p.byName[keyName{head: head}]
	}
	if !ok && len(p.byName) == maxKeys {
		return maxKeys + 1
	}
	return slot
}

// KeySeen counts a request with a valid key. Narrowed is the last id caveat of a narrowed
// key, or zero. KeySeen returns a number that stands for the key in Passed and Answered, or
// 0 if keys are not counted. It allocates nothing for a known key, and keeps no reference
// to label.
func (m *Metrics) KeySeen(id, narrowed [16]byte, label []byte) int {
	if m.keys == nil {
		return 0
	}
	slot := m.keys.find(id, narrowed, label)
	m.keys.slots[slot].requests.Inc()
	return slot
}
