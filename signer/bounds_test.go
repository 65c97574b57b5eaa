package signer

import (
	"net/netip"
	"strings"
	"testing"
)

// The last that is allowed and the first that is not, of each bound on what a key says.
func TestTheBoundsOfCaveats(t *testing.T) {
	name := strings.Repeat("a", maxModelName)
	for _, row := range []struct {
		name, value string
		ok          bool
	}{
		{"exp", "253402300799", true}, {"exp", "253402300800", false}, {"exp", "1", true},
		{"rpm", "1000000000", true}, {"rpm", "1000000001", false}, {"streams", "1000000000", true}, {"streams", "1000000001", false},
		{"models", name, true}, {"models", name + "a", false}, {"models", "tiny," + name, true}, {"models", name + "a,tiny", false},
		{"label", strings.Repeat("é", MaxLabel/2), true}, {"label", strings.Repeat("é", MaxLabel/2) + "a", false},
	} {
		if _, err := NewCaveat(row.name, row.value); (err == nil) != row.ok {
			t.Errorf("%s of %d bytes, %.20s: %v", row.name, len(row.value), row.value, err)
		}
	}
}

// The longest name that a caveat may have means the same as any other, and is matched in
// memory that is there already.
func TestTheLongestModelName(t *testing.T) {
	name := strings.Repeat("a", maxModelName)
	u, err := Inspect(chained(t, mustMint(t, false), "models="+name))
	if err != nil {
		t.Fatal(err)
	}
	latest := name + ":latest"
	if !u.Limits.AllowsModel(latest) || u.Limits.AllowsModel(name) || u.Limits.AllowsModel(name[1:]+":latest") {
		t.Error("it does not stand for itself")
	}
	if n := testing.AllocsPerRun(100, func() { u.Limits.AllowsModel(latest) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is nothing but where a model is to run says that all the same.
func TestNamesThatOnlySayWhere(t *testing.T) {
	for name, cloud := range map[string]bool{":cloud": true, "-cloud": true, "x:-cloud": true, ":local": false, "cloud": false} {
		if IsCloudModel(name) != cloud || SaysWhere(name) != (strings.Contains(name, ":")) {
			t.Errorf("%q: cloud %t, says where %t", name, IsCloudModel(name), SaysWhere(name))
		}
	}
}

func TestPatternsOfEveryLetter(t *testing.T) {
	const capitals, small = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-0189_.", "abcdefghijklmnopqrstuvwxyz-0189_."
	if !glob(capitals).matches(small + ":latest") {
		t.Error("capitals are not taken for small letters")
	}
}

// Mint makes the longest key that Verify takes, and none that it does not.
func TestTheLongestKeyIsMinted(t *testing.T) {
	secret := mustSecret(t, testSecret)
	verifier := NewVerifier(secret)
	longest := 0
	for n := maxKeyLen / 3 * 2; n < maxKeyLen; n++ {
		for label := range 3 {
			key, err := Mint(secret, false, Caveat{"models", strings.Repeat("a,", n/2) + strings.Repeat("b", 1+n%2)}, Caveat{"label", "abc"[:label+1]})
			if err != nil {
				continue
			}
			longest = max(longest, len(key))
			if _, err := verifier.Verify(key, beforeExpiry); err != nil {
				t.Fatalf("it makes a key of %d bytes: %v", len(key), err)
			}
		}
	}
	if longest != maxKeyLen {
		t.Errorf("the longest key has %d bytes, not %d", longest, maxKeyLen)
	}
}

func TestDerivedNamesOfEveryCharacter(t *testing.T) {
	for c := range 256 {
		for _, name := range []string{string([]byte{byte(c)}), "a" + string([]byte{byte(c)})} {
			_, _, err := Derive(mustSecret(t, testSecret), name)
			first := strings.IndexByte("abcdefghijklmnopqrstuvwxyz0123456789", byte(c)) >= 0
			if want := first || len(name) > 1 && strings.IndexByte("._-", byte(c)) >= 0; (err == nil) != want {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
}

func TestNetworksWithGapsAndIPv4AtTheirEnd(t *testing.T) {
	for _, text := range []string{
		"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4", "::6:1.2.3.4", "1:2:3:4:5::1.2.3.4", "1:2:3:4:5:6::1.2.3.4", "::1::2", "1::2::3", "::", "::1", "1::", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", ":::", "1:::2",
	} {
		want, wantErr := netip.ParseAddr(text)
		got, err := parseNetwork([]byte(text))
		if (err == nil) != (wantErr == nil) || err == nil && got.Addr() != want.Unmap() {
			t.Errorf("%s: %v, %v, not %v, %v", text, got, err, want, wantErr)
		}
	}
}

// full is a file that takes everything, as long as nobody looks.
type full struct{ writes int }

func (f *full) WriteAt(p []byte, _ int64) (int, error) {
	f.writes++
	return len(p), nil
}

func (f *full) Sync() error { return nil }

func TestAListGrowsUpToItsBound(t *testing.T) {
	const lead, line = "\n", idA + "\n"
	room := int64(len(lead + "#" + line))
	for _, over := range []int64{0, 1} {
		var f full
		err := appendLines(&f, maxRevocations-room+over, lead, []string{line})
		if (err == nil) != (over == 0) || (f.writes == 0) != (over > 0) {
			t.Errorf("%d bytes over: %v after %d writes", over, err, f.writes)
		}
	}
}
