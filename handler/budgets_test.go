package handler

import (
	"fmt"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

func TestRPM(t *testing.T) {
	var b budgets
	l := &signer.Limits{RPM: []signer.Budget{{Scope: "a", N: 60}}}
	now := time.Unix(1e9, 0)
	for i := range 60 {
		if _, reason, _ := b.spend(l, now); reason != "" {
			t.Fatalf("request %d: %s", i+1, reason)
		}
	}
	_, reason, wait := b.spend(l, now)
	if reason != reasonRPM || inSeconds(wait) != 1 {
		t.Errorf("request 61: %q, wait %v", reason, wait)
	}
	if _, reason, _ := b.spend(l, now.Add(wait)); reason != "" {
		t.Errorf("after the wait that it was told: %s", reason)
	}
	if _, reason, _ := b.spend(l, now.Add(wait)); reason == "" {
		t.Error("a refused request gave another one room")
	}
}

func TestAllBudgetsOfAChainHold(t *testing.T) {
	var b budgets
	root := signer.Budget{Scope: "root", N: 3}
	one := &signer.Limits{RPM: []signer.Budget{root, {Scope: "one", N: 1}}}
	two := &signer.Limits{RPM: []signer.Budget{root, {Scope: "two", N: 2}}}
	now := time.Unix(1e9, 0)
	try := func(l *signer.Limits) bool { _, reason, _ := b.spend(l, now); return reason == "" }
	for i, row := range []struct {
		l    *signer.Limits
		want bool
	}{{one, true}, {one, false}, {one, false}, {two, true}, {two, true}, {two, false}, {&signer.Limits{RPM: []signer.Budget{root}}, false}} {
		if got := try(row.l); got != row.want {
			t.Errorf("request %d: %v", i+1, got)
		}
	}
}

func TestStreams(t *testing.T) {
	var b budgets
	root := signer.Budget{Scope: "root", N: 2}
	l := &signer.Limits{Streams: []signer.Budget{root}}
	narrow := &signer.Limits{Streams: []signer.Budget{root, {Scope: "narrow", N: 1}}}
	now := time.Now()
	first, reason, _ := b.spend(narrow, now)
	if reason != "" {
		t.Fatal(reason)
	}
	if _, reason, _ := b.spend(narrow, now); reason != reasonStreams {
		t.Errorf("the narrower key's second: %q", reason)
	}
	second, _, _ := b.spend(l, now)
	if _, reason, _ := b.spend(l, now); reason != reasonStreams {
		t.Errorf("the root's third: %q", reason)
	}
	first()
	third, reason, _ := b.spend(narrow, now)
	if reason != "" {
		t.Errorf("after one has ended: %q", reason)
	}
	second()
	third()
	for _, a := range b.all {
		if a.running != 0 {
			t.Errorf("%d still run", a.running)
		}
	}
}

func TestARequestThatIsRefusedTakesNothing(t *testing.T) {
	var b budgets
	l := &signer.Limits{Streams: []signer.Budget{{Scope: "s", N: 1}}, RPM: []signer.Budget{{Scope: "r", N: 1}}}
	now := time.Now()
	done, _, _ := b.spend(l, now)
	if _, reason, _ := b.spend(l, now.Add(time.Minute)); reason != reasonStreams {
		t.Fatalf("%q", reason)
	}
	done()
	if _, reason, _ := b.spend(l, now.Add(time.Minute)); reason != "" {
		t.Errorf("the refused request had taken the minute's token: %q", reason)
	}
}

// newKey spends from the budgets of a key that was never seen before, a
// millisecond after the last.
func newKey(b *budgets, i int) {
	name := fmt.Sprint(i)
	done, _, _ := b.spend(&signer.Limits{
		RPM:     []signer.Budget{{Scope: name, N: 600}},
		Streams: []signer.Budget{{Scope: "s" + name, N: 1}},
	}, time.Unix(1e9, 0).Add(time.Duration(i)*time.Millisecond))
	done()
}

func TestBudgetsThatNobodyUsesAreForgotten(t *testing.T) {
	var b budgets
	most := 0
	for i := range 50_000 {
		newKey(&b, i)
		most = max(most, len(b.all))
	}
	if most > 2_000 {
		t.Errorf("%d accounts at once", most)
	}
}

// BenchmarkAMillionKeys shows how many accounts a million keys leave.
func BenchmarkAMillionKeys(b *testing.B) {
	var all budgets
	for b.Loop() {
		all = budgets{}
		for i := range 1_000_000 {
			newKey(&all, i)
		}
	}
	b.ReportMetric(float64(len(all.all)), "accounts")
}

func BenchmarkSpend(b *testing.B) {
	var all budgets
	l := &signer.Limits{RPM: []signer.Budget{{Scope: "a", N: 1e9}}, Streams: []signer.Budget{{Scope: "b", N: 1e9}}}
	b.ReportAllocs()
	for b.Loop() {
		done, _, _ := all.spend(l, time.Now())
		done()
	}
}
