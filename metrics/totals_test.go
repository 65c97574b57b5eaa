package metrics

import (
	"reflect"
	"testing"
	"time"
)

func TestTotals(t *testing.T) {
	m := New(Options{
		Routes: []string{"/api/chat", "other"}, RefusalReasons: []string{"missing", "bad_signature"},
		InForce: &inForce{}, PerKey: true,
	})
	alice := m.KeySeen([16]byte{1}, whole, []byte("alice"))
	for _, code := range []int{200, 200, 499} {
		m.RequestStarted(0)
		m.RequestEnded(0, "POST", code, time.Second)
	}
	m.RequestStarted(1)
	m.RequestEnded(1, "GET", 200, time.Second)
	m.Refused("bad_signature")
	m.FirstByte(0, 7*time.Millisecond)
	m.FirstByte(0, time.Hour)
	m.Passed(0, alice, 30, 0)
	m.Passed(1, alice, 12, 0)
	m.Answered(alice, "llama3.2:latest", 30, 26, 259)
	m.Reloaded("revocations", true, time.UnixMilli(1500))
	m.Reloaded("revocations", false, time.UnixMilli(2500))

	got := m.Totals()
	first := got.FirstByte[0]
	if bounds := got.FirstByteBounds; len(bounds)+1 != len(first) || bounds[0] != 0.005 {
		t.Fatalf("%d counts for the bounds %v", len(first), bounds)
	}
	if first[0] != 0 || first[1] != 1 || first[len(first)-2] != 1 || first[len(first)-1] != 2 {
		t.Errorf("first bytes: %v", first)
	}
	got.FirstByte, got.FirstByteBounds = nil, nil
	const id = "01000000-0000-0000-0000-000000000000"
	byKey := func(n uint64) map[[2]string]uint64 {
		return map[[2]string]uint64{{"alice", id}: n, {"other", "other"}: 0}
	}
	times := func(n uint64) map[string]uint64 { return map[string]uint64{"llama3.2:latest": n, "other": 0} }
	want := Totals{
		Requests:        map[int]uint64{200: 3, 499: 1},
		Refusals:        map[string]uint64{"missing": 0, "bad_signature": 1},
		Bytes:           42,
		ModelPrompt:     times(26),
		ModelCompletion: times(259),
		ModelBytes:      times(30),
		KeyRequests:     byKey(1),
		KeyTokens:       byKey(285),
		KeyBytes:        byKey(42),
		ReloadOK:        map[string]bool{"revocations": false},
		ReloadedAt:      map[string]time.Time{"revocations": time.UnixMilli(1500)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := New(Options{InForce: &inForce{}}).Totals().KeyRequests; got != nil {
		t.Errorf("keys are not counted, but Totals has %v", got)
	}
}

func BenchmarkTotals(b *testing.B) {
	m := newMetrics(&inForce{})
	b.ReportAllocs()
	for b.Loop() {
		m.Totals()
	}
}
