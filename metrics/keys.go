package metrics

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxKeys bounds how many keys have series of their own: 1,000.
	maxKeys = 1000

	// maxLabels bounds how many series the labels of one key may take. Whoever
	// has a key without a label can make any number of narrower ones with
	// labels, and would crowd out all others.
	maxLabels = 16
)

// keys counts by key: by its label, and by its id, since a label may be the word of
// any holder of the key, where mint gave it none. A key's number is its place in
// children: 0 counts nothing, and the last place counts all keys that are too many.
type keys struct {
	requests    *prometheus.CounterVec
	tokens      *prometheus.CounterVec
	streamBytes *prometheus.CounterVec
	children    [maxKeys + 2]keyCounters

	places atomic.Pointer[keyPlaces]
	naming sync.Mutex // held to change places
}

type keyCounters struct {
	requests, tokens, streamBytes prometheus.Counter
}

// keyName is what a key is counted by. The label is empty where it has none, or
// where its id has taken maxLabels series already.
type keyName struct {
	id    [16]byte
	label string
}

// keyPlaces says where keys are counted. It never changes, so that those who
// look a key up need no lock.
type keyPlaces struct {
	byName map[keyName]int
	labels map[[16]byte]int // how many series a key's labels have taken
}

func newKeys() *keys {
	k := &keys{
		requests:    counters("key_requests_total", "Requests with a valid key, by its label (empty: none) and its id.", "key", "id"),
		tokens:      counters("key_tokens_total", "Tokens of prompts and answers, by the key's label (empty: none) and its id.", "key", "id"),
		streamBytes: counters("key_stream_bytes_total", "Bytes of Ollama's answers, as they pass, by the key's label (empty: none) and its id.", "key", "id"),
	}
	k.create(maxKeys+1, other, other)
	k.places.Store(&keyPlaces{map[keyName]int{}, map[[16]byte]int{}})
	return k
}

func (k *keys) create(place int, label, id string) {
	k.children[place] = keyCounters{k.requests.WithLabelValues(label, id), k.tokens.WithLabelValues(label, id), k.streamBytes.WithLabelValues(label, id)}
}

// find gives the key's place. A key that comes for the first time gets one
// while there are any.
func (k *keys) find(id [16]byte, label []byte) int {
	if place := k.places.Load().find(id, label); place > 0 {
		return place
	}
	k.naming.Lock()
	defer k.naming.Unlock()
	old := k.places.Load()
	if place := old.find(id, label); place > 0 {
		return place
	}
	p := keyPlaces{maps.Clone(old.byName), maps.Clone(old.labels)}
	name := keyName{id, string(label)}
	if p.labels[id] >= maxLabels {
		name.label = ""
	}
	if name.label != "" {
		p.labels[id]++
	}
	place := len(p.byName) + 1
	p.byName[name] = place
	k.create(place, name.label, formatID(id))
	k.places.Store(&p)
	return place
}

func formatID(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// find gives the key's place, or 0 if it is to get one.
func (p *keyPlaces) find(id [16]byte, label []byte) int {
	place, ok := p.byName[keyName{id, string(label)}] // without a copy of the label
	if !ok && p.labels[id] >= maxLabels {
		place, ok = p.byName[keyName{id: id}]
	}
	if !ok && len(p.byName) == maxKeys {
		return maxKeys + 1
	}
	return place
}

// KeySeen counts a request under a valid key and gives the number that stands
// for the key where its bytes and tokens are counted: 0 if keys are not. It does
// not keep the label's memory.
func (m *Metrics) KeySeen(id [16]byte, label []byte) int {
	if m.keys == nil {
		return 0
	}
	place := m.keys.find(id, label)
	m.keys.children[place].requests.Inc()
	return place
}
