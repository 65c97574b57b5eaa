package signer

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func inspected(tb testing.TB, admin bool, caveats ...string) Unverified {
	tb.Helper()
	u, err := Inspect(mustMint(tb, admin, caveats...))
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

func TestKeysThatCanDoNothing(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, row := range []struct {
		admin   bool
		caveats string
		want    string // "": it can do something
	}{
		{false, "", ""},
		{false, "exp=1800000001", ""},
		{false, "exp=1800000000", "it expired at 2027-01-15T08:00:00Z"},
		{false, "exp=1900000000 exp=1", "it expired at 1970"},
		{false, "routes=admin", "mint --admin"},
		{true, "routes=admin", ""},
		{false, "routes=admin,chat", ""},
		{false, "routes=admin,chat routes=admin,embed", "mint --admin"},
		{true, "routes=admin,chat routes=admin,embed", ""},
		{false, "routes=chat routes=embed", "no class of routes"},
		{true, "routes=chat routes=embed,models", "no class of routes"},
		{false, "routes=chat,embed routes=embed", ""},
		{false, "models=llama3.2 models=qwen3:*", "no model fits"},
		{false, "models=llama3.2 models=llama3.2:latest", ""},
		{false, "models=LLAMA3.2 models=library/llama3.2", ""},
		{false, "models=llama*,a models=*:8b", ""},
		{false, "models=llama*:1b models=*:8b", "no model fits"},
		{false, "models=a,b models=b,c models=a,c", ""}, // seen in pairs only
		{false, "from=10.0.0.0/8 from=10.1.0.0/16", ""},
		{false, "from=10.0.0.0/8 from=192.168.0.0/16", "no address"},
		{false, "from=10.0.0.0/8 from=::/0", "no address"},
		{false, "from=10.0.0.0/8,1.1.1.1 from=10.0.0.0/9,1.1.1.1 from=1.1.1.0/24", ""},
		{false, "from=10.0.0.0/8,1.1.1.1 from=10.0.0.0/9,1.1.1.1 from=1.1.2.0/24", "no address"},
		{false, "streams=1 rpm=1 label=x", ""},
	} {
		got := inspected(t, row.admin, strings.Fields(row.caveats)...).Idle(now)
		if (row.want == "") != (got == "") || !strings.Contains(got, row.want) {
			t.Errorf("admin %t, %s: %q, not %q", row.admin, row.caveats, got, row.want)
		}
	}
}

// What is called idle never does anything: whatever model, address or class is tried,
// the limits refuse it.
func TestWhatIsCalledIdleIsRefused(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	globs := []string{"a", "a*", "*a", "a:b", "*:b", "a*b", "*", "b", "ab:*", "a*:*a"}
	models := []string{"a:latest", "ab:latest", "b:latest", "a:b", "ab:b", "aa:aa", "b:b", "aab:ba"}
	networks := []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "::/0", "0.0.0.0/0", "fd00::/8", "192.168.0.1"}
	addresses := []string{"10.0.0.1", "10.1.0.1", "10.1.1.1", "fd00::1", "::1", "192.168.0.1"}
	pick := func(name string, from []string) string {
		var items []string
		for range 1 + random.IntN(2) {
			items = append(items, from[random.IntN(len(from))])
		}
		return name + "=" + strings.Join(items, ",")
	}
	idle := 0
	for range 3000 {
		var caveats []string
		for range 1 + random.IntN(3) {
			caveats = append(caveats, pick("models", globs), pick("from", networks))
		}
		u := inspected(t, false, caveats...)
		why := u.Idle(time.Unix(0, 0))
		anyModel, anyAddress := false, false
		for _, m := range models {
			anyModel = anyModel || u.Limits.AllowsModel(m)
		}
		for _, a := range addresses {
			anyAddress = anyAddress || u.Limits.AllowsAddress(netip.MustParseAddr(a))
		}
		if why != "" {
			idle++
			if anyModel && anyAddress {
				t.Errorf("%q is called idle (%s), and is not", caveats, why)
			}
		}
	}
	if idle < 300 || idle > 2900 {
		t.Errorf("%d of 3000 are idle: nothing was tried", idle)
	}
}
