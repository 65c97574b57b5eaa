package signer

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzCaveats: a caveat that can be minted comes back as it was, one that cannot
// is refused in a key, too, and whatever is added takes rights away.
func FuzzCaveats(f *testing.F) {
	for _, row := range [][2]string{
		{"exp=4102444800", "exp=1"}, {"models=llama3.2,qwen3:*", "models=*"}, {"models=tiny", "models=alice/*,hf.co/*"}, {"routes=chat,embed", "routes=admin"},
		{"from=10.0.0.0/8", "from=::/0,0.0.0.0/0"}, {"from=192.0.2.7", "from=::ffff:10.0.0.1"}, {"streams=1", "streams=1000000000"}, {"rpm=60", "rpm=1"}, {"label=alice", "label=bob"},
		{"label=a=b", "label=\u00e9quipe"}, {"label=a~b.c", "exp=253402300799"}, {"colour=red", "=x"}, {"exp=01", "label="}, {"models=a,", "routes=chat, embed"}, {"label=\xff", "admin=true"},
		{"id=" + idA, "id=" + idC}, {"id=" + idC[1:], "id=00000000-0000-7000-8000-000000000000"},
	} {
		f.Add(row[0], row[1], false)
		f.Add(row[1], row[0], true)
	}
	secret := mustSecret(f, testSecret)
	verifier := NewVerifier(secret)
	f.Fuzz(func(t *testing.T, first, second string, admin bool) {
		parent, ok := minted(t, verifier, secret, admin, first)
		if !ok {
			return
		}
		name, value, _ := strings.Cut(second, "=")
		child, err := Restrict(parent, Caveat{name, value})
		if err != nil {
			if _, added := minted(t, verifier, secret, admin, second); added && len(parent)+len(second) < maxKeyLen/2 {
				t.Errorf("%q can be minted, but not added to %q: %v", second, first, err)
			}
			return
		}
		before, _ := Inspect(parent)
		after, err := Inspect(child)
		if err != nil || after.ID != before.ID || after.Admin != admin || !slices.Equal(after.Caveats, append(before.Caveats, Caveat{name, value})) {
			t.Fatalf("%q and %q come back as %+v, %v", first, second, after, err)
		}
		narrows(t, before.Limits, after.Limits)
		read, err := readClaims(child)
		if err != nil {
			t.Fatalf("the reference refuses %q and %q: %v", first, second, err)
		}
		sameAnswers(t, after.Limits, read)
		p, _ := split(child)
		if again, err := chain(p.head, link([]byte(testSecret), p.head), after.Caveats); err != nil || again != child {
			t.Errorf("minted at once it is %q, not %q (%v)", again, child, err)
		}

		// Nobody goes back, or changes the order.
		q, _ := split(parent)
		encoded := strings.Split(p.caveats[1:], "~")
		for _, forged := range []string{
			p.head + "." + p.tag, q.signed + "." + p.tag, p.signed + "." + q.tag,
			p.head + "~" + encoded[1] + "." + p.tag,
			p.head + "~" + encoded[1] + "~" + encoded[0] + "." + p.tag,
		} {
			if forged == child {
				continue // both caveats are the same
			}
			if _, err := verifier.Verify(forged, beforeExpiry); !errors.Is(err, ErrBadSignature) {
				t.Errorf("%q: %v", forged, err)
			}
		}
	})
}

// minted mints a key with one caveat, written name=value, and sees that Mint and
// Verify are of one mind. ok is false if they will have none of it.
func minted(t *testing.T, verifier *Verifier, secret Secret, admin bool, text string) (key string, ok bool) {
	t.Helper()
	plain, err := Mint(secret, admin)
	if err != nil {
		t.Fatal(err)
	}
	name, value, equals := strings.Cut(text, "=")
	_, err = NewCaveat(name, value)
	allowed := err == nil && equals
	raw := chained(t, plain, text)
	got, err := verifier.Verify(raw, beforeExpiry)
	if fits := len(raw) <= maxKeyLen; (err == nil || errors.Is(err, ErrExpired)) != (allowed && fits) {
		t.Fatalf("%q, allowed %t: %v", text, allowed, err)
	}
	if err == nil && got.Admin != admin {
		t.Fatalf("%q makes admin %t", text, got.Admin)
	}
	key, err = Mint(secret, admin, Caveat{name, value})
	if (err == nil) != (allowed && len(raw) <= maxKeyLen) && equals {
		t.Fatalf("%q, allowed %t: Mint says %v", text, allowed, err)
	}
	return key, allowed && err == nil
}

// narrows fails the test if something is allowed after that was not before.
func narrows(t *testing.T, before, after Limits) {
	t.Helper()
	for _, class := range []Class{Chat, Embed, Models, Admin} {
		if after.AllowsClass(class) && !before.AllowsClass(class) {
			t.Errorf("gains %s", class)
		}
	}
	for _, model := range []string{"tiny:latest", "llama3.2:latest", "qwen3:8b", "alice/tiny:latest", "hf.co/a/b:latest", "a:a"} {
		if after.AllowsModel(model) && !before.AllowsModel(model) {
			t.Errorf("gains %s", model)
		}
	}
	for _, addr := range []string{"10.0.0.1", "192.0.2.7", "::ffff:10.0.0.1", "2001:db8::1", "::", "0.0.0.0"} {
		if a := netip.MustParseAddr(addr); after.AllowsAddress(a) && !before.AllowsAddress(a) {
			t.Errorf("gains %s", addr)
		}
	}
	later := func(a, b time.Time) bool { return !b.IsZero() && (a.IsZero() || a.After(b)) }
	switch {
	case later(after.Expires(), before.Expires()):
		t.Errorf("lives on until %v", after.Expires())
	case before.LimitsModels() && !after.LimitsModels():
		t.Error("gains all models")
	case before.Label() != "" && after.Label() != before.Label():
		t.Errorf("is called %q now", after.Label())
	case !keeps(slices.Collect(before.RPM), slices.Collect(after.RPM)), !keeps(slices.Collect(before.Streams), slices.Collect(after.Streams)):
		t.Error("loses a budget")
	}
}

func keeps(before, after []Budget) bool {
	return len(after) >= len(before) && slices.Equal(after[:len(before)], before)
}
