package access

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// minted mints a key with caveats, written name=value.
func minted(tb testing.TB, caveats ...string) string {
	tb.Helper()
	secret, _ := signer.NewSecret()
	key, err := signer.Mint(secret, false, parsed(tb, caveats)...)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// narrowed adds caveats to a key, and gives it as it is without any.
func narrowed(tb testing.TB, key string, caveats ...string) string {
	tb.Helper()
	if len(caveats) == 0 {
		return key
	}
	narrower, err := signer.Restrict(key, parsed(tb, caveats)...)
	if err != nil {
		tb.Fatal(err)
	}
	return narrower
}

func parsed(tb testing.TB, caveats []string) (all []signer.Caveat) {
	tb.Helper()
	for _, text := range caveats {
		name, value, _ := strings.Cut(text, "=")
		c, err := signer.NewCaveat(name, value)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

func limits(tb testing.TB, key string) signer.Limits {
	tb.Helper()
	u, err := signer.Inspect(key)
	if err != nil {
		tb.Fatal(err)
	}
	return u.Limits
}

// spendable counts how many requests pass at once, up to most.
func spendable(tb testing.TB, b *Budgets, most int, now time.Time, keys ...string) (n int) {
	for i := range most {
		if _, reason, _ := b.Spend(limits(tb, keys[i%len(keys)]), now); reason == "" {
			n++
		}
	}
	return n
}

// TestDefaultsAreForKeysThatWereMintedWithout: those that have a limit of their own go by
// that one, be it higher or lower, and a holder cannot give a key one.
func TestDefaultsAreForKeysThatWereMintedWithout(t *testing.T) {
	for _, row := range []struct {
		minted, added string
		defaults      Defaults
		rpm, streams  int // of 20 requests
	}{
		{"", "", Defaults{}, 20, 20},
		{"", "", Defaults{RPM: 5}, 5, 20},
		{"", "", Defaults{Streams: 4}, 20, 4},
		{"label=alice", "", Defaults{RPM: 5, Streams: 4}, 5, 4},
		{"rpm=8", "", Defaults{RPM: 5}, 8, 20},
		{"rpm=3", "", Defaults{RPM: 5}, 3, 20},
		{"rpm=8", "", Defaults{Streams: 4}, 8, 4},
		{"streams=9", "", Defaults{RPM: 5, Streams: 4}, 5, 9},
		{"rpm=8 streams=9", "", Defaults{RPM: 5, Streams: 4}, 8, 9},
		{"", "rpm=1000000000", Defaults{RPM: 5}, 5, 20},
		{"", "rpm=2", Defaults{RPM: 5}, 2, 20},
		{"", "streams=1000000000", Defaults{Streams: 4}, 20, 4},
		{"label=alice", "id=0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60 rpm=1000000000 streams=1000000000", Defaults{RPM: 5, Streams: 4}, 5, 4},
		{"rpm=8", "rpm=1000000000", Defaults{RPM: 5}, 8, 20},
		{"rpm=8", "streams=1000000000", Defaults{RPM: 5, Streams: 4}, 8, 4},
	} {
		key := narrowed(t, minted(t, strings.Fields(row.minted)...), strings.Fields(row.added)...)
		l := limits(t, key)
		b := Budgets{Defaults: row.defaults}
		if got, want := b.HasBudgets(l), row.rpm+row.streams < 40; got != want {
			t.Errorf("%+v: has budgets %t", row, got)
		}
		now := time.Unix(1e9, 0)
		if got := spendable(t, &b, 20, now, key); got != min(row.rpm, row.streams) {
			t.Errorf("%+v: %d requests pass at once", row, got)
		}
		b = Budgets{Defaults: row.defaults}
		n := 0
		for range 20 { // one after the other
			if done, reason, _ := b.Spend(l, now); reason == "" {
				n++
				done()
			}
		}
		if n != row.rpm {
			t.Errorf("%+v: %d requests a minute pass", row, n)
		}
	}
}

// TestAFamilySharesItsDefaults: any number of narrower keys get no more than the one that
// they were made of, and other families have their own.
func TestAFamilySharesItsDefaults(t *testing.T) {
	b := Budgets{Defaults: Defaults{RPM: 6}}
	now := time.Unix(1e9, 0)
	root, other := minted(t, "label=alice"), minted(t)
	keys := []string{root}
	for i := range 5 {
		keys = append(keys, narrowed(t, root, fmt.Sprintf("label=%d", i), fmt.Sprintf("rpm=%d", 100+i)))
	}
	if got := spendable(t, &b, 60, now, keys...); got != 6 {
		t.Errorf("%d requests of the family pass", got)
	}
	if got := spendable(t, &b, 60, now, other); got != 6 {
		t.Errorf("%d requests of another pass", got)
	}
	if got := spendable(t, &b, 60, now.Add(time.Minute), keys...); got != 6 {
		t.Errorf("%d requests of the family pass a minute later", got)
	}
}

// TestNobodyGainsByNarrowing: of two proxies with the same past, one with a key and one
// with a key made from it, the second never lets more pass.
func TestNobodyGainsByNarrowing(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	some := []string{"rpm=1", "rpm=4", "rpm=1000000000", "streams=1", "streams=3", "streams=1000000000", "label=bob", "id=0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60"}
	pick := func(most int) (all []string) {
		for range random.IntN(most) {
			all = append(all, some[random.IntN(len(some))])
		}
		return all
	}
	for range 300 {
		defaults := Defaults{RPM: random.IntN(6), Streams: random.IntN(4)}
		parent := minted(t, pick(3)...)
		children := []string{narrowed(t, parent, pick(4)...), narrowed(t, parent, pick(4)...), narrowed(t, parent, pick(4)...)}
		alone, together := Budgets{Defaults: defaults}, Budgets{Defaults: defaults}
		now := time.Unix(1e9, 0)
		for range 3 {
			most := spendable(t, &alone, 30, now, parent)
			if got := spendable(t, &together, 30, now, children...); got > most {
				t.Fatalf("defaults %+v, %v: %d requests pass with children of which the key has %d: %v", defaults,
					limits(t, parent).Caveats(), got, most, [][]signer.Caveat{limits(t, children[0]).Caveats(), limits(t, children[1]).Caveats(), limits(t, children[2]).Caveats()})
			}
		}
	}
}
