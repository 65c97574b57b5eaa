package signer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNewCaveat(t *testing.T) {
	for _, row := range []struct {
		text string
		ok   bool
	}{
		{"exp=1767225600", true},
		{"exp=0", false},
		{"exp=-1", false},
		{"exp=+1", false},
		{"exp=01", false},
		{"exp=1e9", false},
		{"exp= 1", false},
		{"exp=253402300800", false},
		{"exp=99999999999999999999", false},
		{"exp=", false},
		{"models=llama3.2", true},
		{"models=llama3.2,qwen3:*", true},
		{"models=*", true},
		{"models=hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M", true},
		{"models=", false},
		{"models=a,", false},
		{"models=a b", false},
		{"models=[ab]", false},
		{"models=größe", false},
		{"routes=chat", true},
		{"routes=chat,embed,models,admin", true},
		{"routes=Chat", false},
		{"routes=chat, embed", false},
		{"routes=", false},
		{"from=10.0.0.0/8", true},
		{"from=10.1.2.3/8", true},
		{"from=192.0.2.1,2001:db8::/32", true},
		{"from=10.0.0.0/33", false},
		{"from=::ffff:10.0.0.0/104", false},
		{"from=::ffff:10.0.0.1", true},
		{"from=fe80::1%eth0", false},
		{"from=localhost", false},
		{"from=", false},
		{"streams=1", true},
		{"streams=0", false},
		{"streams=1000000001", false},
		{"rpm=60", true},
		{"rpm=6.5", false},
		{"label=alice", true},
		{"label=équipe données", true},
		{"label=a=b", true},
		{"label=", false},
		{"label=two\nlines", false},
		{"label=\u202eecila", false},
		{"label=\xff", false},
		{"label=" + strings.Repeat("a", 128), true},
		{"label=" + strings.Repeat("a", 129), false},
		{"id=" + idA, true},
		{"id=" + strings.ToUpper(idA), false},
		{"id=" + userPrefix + idA, false},
		{"id={" + idA + "}", false},
		{"id=" + strings.ReplaceAll(idA, "-", ""), false},
		{"id=0199c3a1-8f60-4d4e-9c55-2b1f3a8e7d60", false}, // version 4
		{"id=0199c3a1-8f60-7d4e-4c55-2b1f3a8e7d60", false}, // of another variant
		{"id=00000000-0000-0000-0000-000000000000", false},
		{"id=", false},
		{"colour=red", false},
		{"EXP=1767225600", false},
		{"=x", false},
		{"", false},
	} {
		name, value, _ := strings.Cut(row.text, "=")
		c, err := NewCaveat(name, value)
		if (err == nil) != row.ok {
			t.Errorf("%q: %v", row.text, err)
		}
		if err != nil {
			continue
		}
		encoded := c.encode()
		var room [longestCaveat]byte
		if name, value, ok := decodeCaveat(room[:], encoded); !ok || string(name) != c.Name || string(value) != c.Value {
			t.Errorf("%q comes back as %q and %q (%v)", row.text, name, value, ok)
		}
		for k := range kindNames {
			if kind(k).is(encoded) != (kindNames[k] == c.Name) {
				t.Errorf("whether %q is of kind %s: %t", row.text, kindNames[k], kind(k).is(encoded))
			}
		}
	}
}

func TestACaveatWithoutAnEqualsSignIsMalformed(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	for _, text := range []string{"label", "admin", "\x00"} {
		if _, err := verifier.Verify(chained(t, mustMint(t, false), text), beforeExpiry); err != ErrMalformed {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// permitted is what a key may do, as a set of tried combinations.
func permitted(l Limits) map[string]bool {
	set := map[string]bool{}
	for _, at := range []int64{0, 1, 1759999998, 1760000000, 1760000001, 4102444799, 4102444800} {
		if l.Expires().IsZero() || time.Unix(at, 0).Before(l.Expires()) {
			permittedAt(l, at, set)
		}
	}
	return set
}

func permittedAt(l Limits, at int64, set map[string]bool) {
	for _, class := range []Class{Chat, Embed, Models, Admin} {
		for _, model := range []string{"tiny:latest", "tiny:1b", "qwen3:8b", "alice/tiny:latest", "hf.co/a/b:latest"} {
			for _, addr := range []string{"10.0.0.1", "10.1.0.1", "::ffff:10.0.0.1", "2001:db8::1", "192.0.2.7"} {
				if l.AllowsClass(class) && l.AllowsModel(model) && l.AllowsAddress(netip.MustParseAddr(addr)) {
					set[fmt.Sprint(at, class, model, addr)] = true
				}
			}
		}
	}
}

func TestANarrowedKeyNeverGainsARight(t *testing.T) {
	values := map[string][]string{
		"exp":     {"1", "1759999999", "1760000001", "4102444800"},
		"models":  {"*", "tiny", "tiny:*", "qwen3:8b", "tiny,qwen3:*", "alice/*", "hf.co/*", "*:latest"},
		"routes":  {"chat", "embed,chat", "admin", "chat,embed,models,admin"},
		"from":    {"10.0.0.0/8", "10.0.0.0/16,2001:db8::/32", "::/0", "0.0.0.0/0", "192.0.2.7"},
		"streams": {"1", "1000"},
		"rpm":     {"1", "1000"},
		"label":   {"alice", "bob"},
		"id":      {idA, idC},
	}
	var names []string
	for name := range values {
		names = append(names, name)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	verifier := NewVerifier(mustSecret(t, testSecret))
	widest := len(permitted(Limits{}))

	for range 100 {
		key := mustMint(t, random.IntN(2) == 0)
		parent, _ := verifier.Verify(key, time.Unix(0, 0))
		for range 1 + random.IntN(6) {
			name := names[random.IntN(len(names))]
			value := values[name][random.IntN(len(values[name]))]
			narrower, err := Restrict(key, mustCaveats(t, name+"="+value)...)
			if err != nil {
				t.Fatal(err)
			}
			child, err := verifier.Verify(narrower, time.Unix(0, 0))
			if err != nil || child.ID != parent.ID || child.Admin != parent.Admin {
				t.Fatalf("%s=%s: %v", name, value, err)
			}
			before, after := permitted(parent.Limits), permitted(child.Limits)
			for right := range after {
				if !before[right] {
					t.Fatalf("%s=%s gave %s", name, value, right)
				}
			}
			if len(after) > widest {
				t.Fatal("more than everything")
			}
			for _, budgets := range []func(Limits) []Budget{
				func(l Limits) []Budget { return slices.Collect(l.RPM) }, func(l Limits) []Budget { return slices.Collect(l.Streams) },
			} {
				if len(budgets(child.Limits)) < len(budgets(parent.Limits)) {
					t.Fatalf("%s=%s dropped a budget", name, value)
				}
			}
			if label := parent.Limits.Label(); label != "" && child.Limits.Label() != label {
				t.Fatalf("%s=%s renamed the key", name, value)
			}
			key, parent = narrower, child
		}
	}
}

func TestBudgetsAreSharedByAllKeysBelowThem(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	root := mustMint(t, false, "rpm=60")
	scopes := func(key string) (out []string) {
		k, err := verifier.Verify(key, beforeExpiry)
		if err != nil {
			t.Fatal(err)
		}
		for b := range k.Limits.RPM {
			out = append(out, b.Scope)
		}
		return out
	}
	a, _ := Restrict(root, mustCaveats(t, "label=a", "rpm=10")...)
	b, _ := Restrict(root, mustCaveats(t, "label=b", "rpm=10")...)
	if sa, sb := scopes(a), scopes(b); sa[0] != scopes(root)[0] || sb[0] != sa[0] || sa[1] == sb[1] {
		t.Errorf("scopes %q and %q", sa, sb)
	}
	for _, scope := range append(scopes(a), scopes(b)...) {
		if strings.Contains(scope, ".") {
			t.Errorf("scope %q holds a tag", scope)
		}
	}
}
