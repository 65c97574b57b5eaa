package access

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// limitsOf gives the limits of a key with the id and the caveats, written
// name=value. Keys of one id share what the caveats before count.
func limitsOf(tb testing.TB, id int, caveats ...string) signer.Limits {
	tb.Helper()
	key := fmt.Sprintf("OLLAMA-%08x-0000-7000-8000-000000000000", id)
	for _, caveat := range caveats {
		key += "~" + base64.RawURLEncoding.EncodeToString([]byte(caveat))
	}
	u, err := signer.Inspect(key + "." + strings.Repeat("A", 43))
	if err != nil {
		tb.Fatal(err)
	}
	return u.Limits
}

func TestRPM(t *testing.T) {
	var b Budgets
	l := limitsOf(t, 1, "rpm=60")
	now := time.Unix(1e9, 0)
	for i := range 60 {
		if _, reason, _ := b.Spend(l, now); reason != "" {
			t.Fatalf("request %d: %s", i+1, reason)
		}
	}
	_, reason, wait := b.Spend(l, now)
	if reason != ReasonRPM || InSeconds(wait) != 1 {
		t.Errorf("request 61: %q, wait %v", reason, wait)
	}
	if _, reason, _ := b.Spend(l, now.Add(wait)); reason != "" {
		t.Errorf("after the wait that it was told: %s", reason)
	}
	if _, reason, _ := b.Spend(l, now.Add(wait)); reason == "" {
		t.Error("a refused request gave another one room")
	}
}

// An account that is full again by the next request is not made anew.
func TestSpendingFromAnAccountAllocatesNothing(t *testing.T) {
	var b Budgets
	l, now := limitsOf(t, 1, "label=alice", "rpm=1000000000", "rpm=60000"), time.Unix(1e9, 0)
	if n := testing.AllocsPerRun(100, func() {
		now = now.Add(time.Second)
		if _, reason, _ := b.Spend(l, now); reason != "" {
			t.Fatal(reason)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAllBudgetsOfAChainHold(t *testing.T) {
	var b Budgets
	root := limitsOf(t, 1, "rpm=3")
	one := limitsOf(t, 1, "rpm=3", "rpm=1")
	two := limitsOf(t, 1, "rpm=3", "rpm=2")
	now := time.Unix(1e9, 0)
	try := func(l signer.Limits) bool { _, reason, _ := b.Spend(l, now); return reason == "" }
	for i, row := range []struct {
		l    signer.Limits
		want bool
	}{{one, true}, {one, false}, {one, false}, {two, true}, {two, true}, {two, false}, {root, false}} {
		if got := try(row.l); got != row.want {
			t.Errorf("request %d: %v", i+1, got)
		}
	}
}

func TestStreams(t *testing.T) {
	var b Budgets
	l := limitsOf(t, 1, "streams=2")
	narrow := limitsOf(t, 1, "streams=2", "streams=1")
	now := time.Now()
	first, reason, _ := b.Spend(narrow, now)
	if reason != "" {
		t.Fatal(reason)
	}
	if _, reason, _ := b.Spend(narrow, now); reason != ReasonStreams {
		t.Errorf("the narrower key's second: %q", reason)
	}
	second, _, _ := b.Spend(l, now)
	if _, reason, _ := b.Spend(l, now); reason != ReasonStreams {
		t.Errorf("the root's third: %q", reason)
	}
	first()
	third, reason, _ := b.Spend(narrow, now)
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
	var b Budgets
	l := limitsOf(t, 1, "streams=1", "rpm=1")
	now := time.Now()
	done, _, _ := b.Spend(l, now)
	if _, reason, _ := b.Spend(l, now.Add(time.Minute)); reason != ReasonStreams {
		t.Fatalf("%q", reason)
	}
	done()
	if _, reason, _ := b.Spend(l, now.Add(time.Minute)); reason != "" {
		t.Errorf("the refused request had taken the minute's token: %q", reason)
	}
}

// newKey spends from the budgets of a key that was never seen before, a
// millisecond after the last.
func newKey(tb testing.TB, b *Budgets, i int) {
	done, _, _ := b.Spend(limitsOf(tb, i, "rpm=600", "streams=1"), time.Unix(1e9, 0).Add(time.Duration(i)*time.Millisecond))
	done()
}

func TestBudgetsThatNobodyUsesAreForgotten(t *testing.T) {
	var b Budgets
	most := 0
	for i := range 50_000 {
		newKey(t, &b, i)
		most = max(most, len(b.all))
	}
	if most > 2_000 {
		t.Errorf("%d accounts at once", most)
	}
}

// TestAHolderCannotFillMemory with keys that each have limits of their own: what is
// refused leaves nothing, and a family has no more than its share. Other families do not
// notice.
func TestAHolderCannotFillMemory(t *testing.T) {
	var b Budgets
	b.Defaults.RPM = 1
	now, served := time.Unix(1e9, 0), 0
	caveats := func(i int) []string {
		own := []string{fmt.Sprintf("label=%d", i)}
		for n := range 15 {
			own = append(own, fmt.Sprintf("rpm=%d", n+1))
		}
		return own
	}
	for i := range 1_000 {
		if done, _, _ := b.Spend(limitsOf(t, 1, caveats(i)...), now); done != nil {
			served++
			done()
		}
	}
	if served != 1 || len(b.all) > 16 {
		t.Errorf("%d were served, and there are %d accounts", served, len(b.all))
	}
	b = Budgets{}
	for i := range 2_000 {
		if done, _, _ := b.Spend(limitsOf(t, 1, caveats(i)...), now); done != nil {
			done()
		}
		if len(b.all) > maxPerFamily {
			t.Fatalf("%d accounts", len(b.all))
		}
	}
	if done, reason, _ := b.Spend(limitsOf(t, 2, "rpm=1"), now); done == nil {
		t.Errorf("another family is refused: %s", reason)
	}
	b.Spend(limitsOf(t, 3, "rpm=1"), now.Add(time.Hour))
	for range 10_000 {
		b.sweep(now.Add(time.Hour))
	}
	if len(b.all) > 1 || len(b.families) > 1 {
		t.Errorf("an hour later there are %d accounts of %d families", len(b.all), len(b.families))
	}
}

// BenchmarkAMillionKeys shows how many accounts a million keys leave.
func BenchmarkAMillionKeys(b *testing.B) {
	var all Budgets
	for b.Loop() {
		all = Budgets{}
		for i := range 1_000_000 {
			newKey(b, &all, i)
		}
	}
	b.ReportMetric(float64(len(all.all)), "accounts")
}

func BenchmarkSpend(b *testing.B) {
	var all Budgets
	l := limitsOf(b, 1, "rpm=1000000000", "streams=1000000000")
	b.ReportAllocs()
	for b.Loop() {
		done, _, _ := all.Spend(l, time.Now())
		done()
	}
}
