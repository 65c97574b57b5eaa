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

// keys counts by key. A key's number is its place in children: 0 counts
// nothing, and the last place counts all keys that are too many.
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

// keyPlaces says where keys are counted. It never changes, so that those who
// look a key up need no lock.
type keyPlaces struct {
	byLabel map[string]int
	byID    map[[16]byte]int
	labels  map[[16]byte]int // how many series a key's labels have taken
}

func newKeys() *keys {
	k := &keys{
		requests:    counters("key_requests_total", "Requests with a valid key, by its label or else its id.", "key"),
		tokens:      counters("key_tokens_total", "Tokens of prompts and answers, by the key's label or else its id.", "key"),
		streamBytes: counters("key_stream_bytes_total", "Bytes of Ollama's answers, as they pass, by the key's label or else its id.", "key"),
	}
	k.create(maxKeys+1, other)
	k.places.Store(&keyPlaces{map[string]int{}, map[[16]byte]int{}, map[[16]byte]int{}})
	return k
}

func (k *keys) create(place int, name string) {
	k.children[place] = keyCounters{k.requests.WithLabelValues(name), k.tokens.WithLabelValues(name), k.streamBytes.WithLabelValues(name)}
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
	place := old.len() + 1
	p := keyPlaces{maps.Clone(old.byLabel), maps.Clone(old.byID), maps.Clone(old.labels)}
	if name := string(label); name != "" && p.labels[id] < maxLabels {
		p.labels[id]++
		p.byLabel[name] = place
		k.create(place, name)
	} else {
		p.byID[id] = place
		k.create(place, formatID(id))
	}
	k.places.Store(&p)
	return place
}

func formatID(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func (p *keyPlaces) len() int { return len(p.byLabel) + len(p.byID) }

// find gives the key's place, or 0 if it is to get one.
func (p *keyPlaces) find(id [16]byte, label []byte) int {
	place, ok := p.byLabel[string(label)]
	if !ok && (len(label) == 0 || p.labels[id] == maxLabels) {
		place, ok = p.byID[id]
	}
	if !ok && p.len() == maxKeys {
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
