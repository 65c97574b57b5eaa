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

	// maxLabels bounds how many labels of one key have series of their own. Whoever
	// holds a key without a label can restrict it to any number of keys with labels,
	// which would use up all of maxKeys.
	maxLabels = 16
)

// keys counts by key: by its label and by its id, because a label that was not given
// when the key was minted may have been chosen by any holder. The number of a key is its
// index in slots: 0 counts nothing, and the last slot counts all keys beyond maxKeys.
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

// keyName identifies the series of a key. The label is empty if the key has none, or if
// its id has maxLabels of them already.
type keyName struct {
	id    [16]byte
	label string
}

// keyIndex maps keys to slots. It is immutable, so that looking a key up needs no lock.
type keyIndex struct {
	byName map[keyName]int
	labels map[[16]byte]int // the number of labels by id
}

func newKeys() *keys {
	k := &keys{
		requests:    counters("key_requests_total", "Requests with a valid key, by the key's label (empty: none) and id.", "key", "id"),
		tokens:      counters("key_tokens_total", "Tokens of prompts and completions, by the key's label (empty: none) and id.", "key", "id"),
		streamBytes: counters("key_stream_bytes_total", "Bytes of Ollama's responses, counted as they pass, by the key's label (empty: none) and id.", "key", "id"),
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
func (k *keys) find(id [16]byte, label []byte) int {
	if slot := k.index.Load().find(id, label); slot > 0 {
		return slot
	}
	k.addMu.Lock()
	defer k.addMu.Unlock()
	old := k.index.Load()
	if slot := old.find(id, label); slot > 0 {
		return slot
	}
	p := keyIndex{maps.Clone(old.byName), maps.Clone(old.labels)}
	name := keyName{id, string(label)}
	if p.labels[id] >= maxLabels {
		name.label = ""
	}
	if name.label != "" {
		p.labels[id]++
	}
	slot := len(p.byName) + 1
	p.byName[name] = slot
	k.setSlot(slot, name.label, formatID(id))
	k.index.Store(&p)
	return slot
}

// formatID returns the id as a UUID.
func formatID(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// find returns the slot of a key, or 0 if one must be added.
func (p *keyIndex) find(id [16]byte, label []byte) int {
	slot, ok := p.byName[keyName{id, string(label)}] // the compiler does not copy the label
	if !ok && p.labels[id] >= maxLabels {
		slot, ok = p.byName[keyName{id: id}]
	}
	if !ok && len(p.byName) == maxKeys {
		return maxKeys + 1
	}
	return slot
}

// KeySeen counts a request with a valid key. It returns a number that stands for the key
// in Passed and Answered, or 0 if keys are not counted. It allocates nothing for a known
// key, and keeps no reference to label.
func (m *Metrics) KeySeen(id [16]byte, label []byte) int {
	if m.keys == nil {
		return 0
	}
	slot := m.keys.find(id, label)
	m.keys.slots[slot].requests.Inc()
	return slot
}
