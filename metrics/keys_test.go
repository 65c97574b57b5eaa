package metrics

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func perKey() *Metrics {
	return New(Options{Version: "v1", Routes: []string{"/api/chat"}, InForce: &inForce{}, PerKey: true})
}

func id(n int) (id [16]byte) {
	id[0], id[1], id[15] = byte(n>>8), byte(n), 7
	return id
}

// whole stands where a narrowed key has its id.
var whole [16]byte

func TestKeysAreCountedByLabelAndID(t *testing.T) {
	m := perKey()
	alice := m.KeySeen(id(1), whole, []byte("alice"))
	if again := m.KeySeen(id(1), whole, []byte("alice")); again != alice {
		t.Errorf("one key has two numbers, %d and %d", alice, again)
	}
	plain := m.KeySeen(id(0x0199), whole, nil)
	m.Passed(0, alice, 100, 0)
	m.Passed(0, plain, 7, 0)
	m.Answered(alice, "llama3.2:latest", 1000, 26, 259)
	expect(t, scrape(t, m),
		`ollama_proxy_key_requests_total{id="00010000-0000-0000-0000-000000000007",key="alice"} 2`,
		`ollama_proxy_key_stream_bytes_total{id="00010000-0000-0000-0000-000000000007",key="alice"} 100`,
		`ollama_proxy_key_tokens_total{id="00010000-0000-0000-0000-000000000007",key="alice"} 285`,
		`ollama_proxy_key_requests_total{id="01990000-0000-0000-0000-000000000007",key=""} 1`,
		`ollama_proxy_key_stream_bytes_total{id="01990000-0000-0000-0000-000000000007",key=""} 7`,
		`ollama_proxy_stream_bytes_total{route="/api/chat"} 107`,
	)
}

// TestALabelDoesNotImpersonateAnotherKey: whoever holds a key without a label may give
// it any label, but its id stays.
func TestALabelDoesNotImpersonateAnotherKey(t *testing.T) {
	m := perKey()
	m.KeySeen(id(1), whole, []byte("alice"))
	for _, label := range []string{"alice", "other", "", "00010000-0000-0000-0000-000000000007"} {
		for range 3 {
			m.Passed(0, m.KeySeen(id(2), whole, []byte(label)), 5, 0)
		}
	}
	expect(t, scrape(t, m),
		`ollama_proxy_key_requests_total{id="00010000-0000-0000-0000-000000000007",key="alice"} 1`,
		`ollama_proxy_key_stream_bytes_total{id="00010000-0000-0000-0000-000000000007",key="alice"} 0`,
		`ollama_proxy_key_requests_total{id="00020000-0000-0000-0000-000000000007",key="alice"} 3`,
		`ollama_proxy_key_requests_total{id="00020000-0000-0000-0000-000000000007",key="other"} 3`,
		`ollama_proxy_key_requests_total{id="00020000-0000-0000-0000-000000000007",key=""} 3`,
		`ollama_proxy_key_requests_total{id="00020000-0000-0000-0000-000000000007",key="00010000-0000-0000-0000-000000000007"} 3`,
		`ollama_proxy_key_requests_total{id="other",key="other"} 0`,
	)
}

func TestKeysAreNotCountedUnlessAskedFor(t *testing.T) {
	m := newMetrics(&inForce{})
	place := m.KeySeen(id(1), whole, []byte("alice"))
	m.Passed(0, place, 100, 0)
	m.Answered(place, "llama3.2:latest", 1000, 1, 1)
	if text := scrape(t, m); strings.Contains(text, "key_") {
		t.Error("keys have series")
	}
}

// series returns the number of series that keys have.
func series(t *testing.T, m *Metrics) int {
	return strings.Count(scrape(t, m), "\nollama_proxy_key_requests_total{")
}

func TestTooManyKeysShareOneSeries(t *testing.T) {
	m := perKey()
	var all sync.WaitGroup
	for part := range 4 {
		all.Go(func() {
			for n := range 3 * maxKeys / 2 {
				key := id(n*2 + part%2) // each comes twice, at once
				m.Passed(0, m.KeySeen(key, whole, nil), 1, 0)
			}
		})
	}
	all.Wait()
	if n := series(t, m); n != maxKeys+1 {
		t.Errorf("%d series, want %d", n, maxKeys+1)
	}
	expect(t, scrape(t, m),
		fmt.Sprintf(`ollama_proxy_key_requests_total{id="other",key="other"} %d`, 2*2*maxKeys),
		fmt.Sprintf(`ollama_proxy_key_stream_bytes_total{id="other",key="other"} %d`, 2*2*maxKeys),
	)
}

func TestLabelsOfOneKeyAreBounded(t *testing.T) {
	m := perKey()
	for n := range 10 * maxKeys {
		m.KeySeen(id(1), whole, fmt.Append(nil, "label ", n))
	}
	if n := series(t, m); n != maxNames+2 {
		t.Errorf("one key has taken %d series, want %d, and one of its id, and other", n, maxNames+2)
	}
	m.KeySeen(id(1), whole, []byte("label 3"))
	m.KeySeen(id(2), whole, []byte("bob"))
	expect(t, scrape(t, m),
		`ollama_proxy_key_requests_total{id="00020000-0000-0000-0000-000000000007",key="bob"} 1`,
		`ollama_proxy_key_requests_total{id="00010000-0000-0000-0000-000000000007",key="label 3"} 2`,
		fmt.Sprintf(`ollama_proxy_key_requests_total{id="00010000-0000-0000-0000-000000000007",key=""} %d`, 10*maxKeys-maxNames))
}

// TestNarrowedKeysAreCountedByTheirHeadAndTheirID: who narrows a key chooses its id, and
// it may be the head of somebody else's key.
func TestNarrowedKeysAreCountedByTheirHeadAndTheirID(t *testing.T) {
	m := perKey()
	alice := m.KeySeen(id(1), whole, []byte("alice"))
	forged := m.KeySeen(id(2), id(1), []byte("alice"))
	own := m.KeySeen(id(1), id(3), []byte("alice"))
	if alice == forged || alice == own || forged == own {
		t.Errorf("places %d, %d, %d", alice, forged, own)
	}
	m.Passed(0, own, 7, 0)
	expect(t, scrape(t, m),
		`ollama_proxy_key_requests_total{id="00010000-0000-0000-0000-000000000007",key="alice"} 1`,
		`ollama_proxy_key_requests_total{id="00020000-0000-0000-0000-000000000007~00010000-0000-0000-0000-000000000007",key="alice"} 1`,
		`ollama_proxy_key_requests_total{id="00010000-0000-0000-0000-000000000007~00030000-0000-0000-0000-000000000007",key="alice"} 1`,
		`ollama_proxy_key_stream_bytes_total{id="00010000-0000-0000-0000-000000000007~00030000-0000-0000-0000-000000000007",key="alice"} 7`,
	)
}

func TestOneKeyCannotCrowdOutOthersByIDs(t *testing.T) {
	m := perKey()
	for n := range 10 * maxKeys {
		m.KeySeen(id(1), id(n+2), fmt.Append(nil, "label ", n%3))
	}
	if n := series(t, m); n != maxNames+2 {
		t.Errorf("one key has taken %d series, want %d, and one of its head, and other", n, maxNames+2)
	}
	m.KeySeen(id(2), id(3), nil)
	expect(t, scrape(t, m),
		`ollama_proxy_key_requests_total{id="00020000-0000-0000-0000-000000000007~00030000-0000-0000-0000-000000000007",key=""} 1`,
		fmt.Sprintf(`ollama_proxy_key_requests_total{id="00010000-0000-0000-0000-000000000007",key=""} %d`, 10*maxKeys-maxNames))
}

func TestAKeyIsFoundWithoutAllocating(t *testing.T) {
	m := perKey()
	m.KeySeen(id(maxKeys), whole, []byte("alice"))
	for n := range maxKeys - 1 {
		m.KeySeen(id(n), whole, nil)
	}
	for name, number := range map[string]int{"known": 1, "one too many": 5000} {
		for _, label := range []string{"", "alice", strings.Repeat("é", 64)} {
			buffer := []byte(label)
			for _, narrowed := range [][16]byte{whole, id(7)} {
				if n := testing.AllocsPerRun(100, func() { m.KeySeen(id(number), narrowed, buffer) }); n != 0 {
					t.Errorf("%s, label %q, id %x: %v allocations", name, label, narrowed, n)
				}
			}
		}
	}
}
