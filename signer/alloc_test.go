package signer

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// fourCaveats are those that keys commonly have.
var fourCaveats = []string{"label=alice", "exp=4102444800", "models=llama3.2,qwen3:*", "rpm=60"}

// longestKey has as many bytes as a key may, and as many caveats.
func longestKey(tb testing.TB, caveats ...string) string {
	tb.Helper()
	key := chained(tb, mustMint(tb, true), slices.Repeat([]string{"label=a"}, maxCaveats-len(caveats)-1)...)
	key = chained(tb, key, caveats...)
	for n := 1; ; n++ {
		longer := chained(tb, key, "models=hf.co/A/"+strings.Repeat("b", 500)+strings.Repeat(",alice/c*:q4", n))
		if len(longer) > maxKeyLen {
			return chained(tb, key, "models=hf.co/A/"+strings.Repeat("b", 500)+strings.Repeat(",alice/c*:q4", n-1))
		}
	}
}

func TestVerifyingAllocatesNothing(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, strings.ToUpper(testSecret)), mustSecret(t, testSecret+strings.Repeat("long", 20)), mustSecret(t, testSecret))
	plain, long := mustMint(t, false), longestKey(t, "routes=chat", "from=2001:db8::/32,::ffff:10.1.2.3")
	if len(long) < maxKeyLen-16 {
		t.Fatalf("the longest key has %d bytes", len(long))
	}
	verifier.SetRevocations(mustRevocations(t, idA+"\nbefore 2001-01-01T00:00:00Z"))
	forge := func(key string) string { return key[:len(key)-tagLen] + strings.Repeat("A", tagLen) }
	revoked := "OLLAMA-" + idA
	revoked = chained(t, revoked+"."+referenceTag(testSecret, revoked), fourCaveats...)
	for _, row := range []struct {
		name, key string
		want      error
	}{
		{"plain", plain, nil},
		{"of an admin", mustMint(t, true), nil},
		{"four caveats", mustMint(t, false, fourCaveats...), nil},
		{"sixteen caveats", mustMint(t, false, slices.Repeat(fourCaveats, 4)...), nil},
		{"the longest", long, nil},
		{"forged", forge(plain), ErrBadSignature},
		{"forged, four caveats", forge(mustMint(t, false, fourCaveats...)), ErrBadSignature},
		{"forged, the longest", forge(long), ErrBadSignature},
		{"expired", mustMint(t, false, slices.Concat([]string{"exp=1"}, fourCaveats)...), ErrExpired},
		{"revoked", revoked, ErrRevoked},
		{"narrowed once", mustMint(t, false, "id="+idC), nil},
		{"narrowed sixteen times", mustMint(t, false, slices.Repeat([]string{"id=" + idC}, 16)...), nil},
		{"narrowed, revoked by its id", mustMint(t, false, "id="+idC, "id="+idA, "id="+idC), ErrRevoked},
		{"a bad id", chained(t, plain, "id="+strings.ToUpper(idA)), ErrMalformed},
		{"a long id", chained(t, plain, "id="+strings.Repeat(idA, 20)), ErrMalformed},
		{"no key", "OLLAMA-nonsense", ErrMalformed},
		{"too long", long + long, ErrMalformed},
		{"too many caveats", chained(t, long, "label=a"), ErrMalformed},
		{"a caveat of another spelling", strings.Replace(plain, ".", "~bGFiZWw9YR.", 1), ErrMalformed},
		{"an unknown caveat", chained(t, plain, "label=alice", "colour=red"), ErrMalformed},
		{"no equals sign", chained(t, plain, strings.Repeat("label", 100)), ErrMalformed},
		{"a bad expiry", chained(t, plain, "exp=99999999999999999999"), ErrMalformed},
		{"a bad pattern", chained(t, plain, "models="+strings.Repeat("a", maxModelName)+",b c"), ErrMalformed},
		{"a bad class", chained(t, plain, "routes=chat,Chat"), ErrMalformed},
		{"a bad network", chained(t, plain, "from=10.0.0.0/8,fe80::1%eth0"), ErrMalformed},
		{"a mapped network", chained(t, plain, "from=::ffff:10.0.0.0/104"), ErrMalformed},
		{"a bad count", chained(t, plain, "rpm=0"), ErrMalformed},
		{"a bad label", chained(t, plain, "label="+strings.Repeat("\xff", 1000)), ErrMalformed},
	} {
		if _, err := verifier.Verify(row.key, beforeExpiry); err != row.want {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
		if n := testing.AllocsPerRun(100, func() { verifier.Verify(row.key, beforeExpiry) }); n != 0 {
			t.Errorf("%s: %v allocations", row.name, n)
		}
	}
}

func TestAskingForAKeysLimitsAllocatesNothing(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	for name, text := range map[string]string{
		"plain":       mustMint(t, false),
		"four":        mustMint(t, false, fourCaveats...),
		"the longest": longestKey(t, "routes=chat,embed", "from=10.0.0.0/8,2001:db8::/32,::ffff:192.0.2.7", "streams=2", "rpm=60", "exp=4102444800", "id="+idA, "id="+idC),
	} {
		key, err := verifier.Verify(text, beforeExpiry)
		if err != nil {
			t.Fatal(err)
		}
		room := make([]byte, 0, MaxLabel)
		l, home, sum := key.Limits, netip.MustParseAddr("2001:db8::1"), 0
		for about, ask := range map[string]func(){
			"expires": func() { l.Expires() },
			"label":   func() { l.AppendLabel(room) },
			"id":      func() { l.LastID() },
			"class":   func() { l.AllowsClass(Chat) },
			"address": func() { l.AllowsAddress(home) },
			"model":   func() { l.AllowsModel("hf.co/unsloth/qwen3-8b-gguf:q4_k_m") },
			"budgets": func() {
				for b := range l.RPM {
					sum += b.N
				}
				for b := range l.Streams {
					sum += b.N
				}
			},
		} {
			if n := testing.AllocsPerRun(100, ask); n != 0 {
				t.Errorf("%s, %s: %v allocations", name, about, n)
			}
		}
	}
}
