package signer

import (
	"slices"
	"strings"
	"testing"
)

// TestTheUUIDTellsWhatAKeyWasMintedWith: and no holder can make it say more.
func TestTheUUIDTellsWhatAKeyWasMintedWith(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	check := func(key string, rpm, streams bool) {
		t.Helper()
		k, err := verifier.Verify(key, beforeExpiry)
		if err != nil {
			t.Fatal(err)
		}
		if k.Limits.MintedWithRPM() != rpm || k.Limits.MintedWithStreams() != streams {
			t.Errorf("%s, minted with rpm: %t, streams: %t", k.Name(), !rpm, !streams)
		}
		if family := k.Limits.Family(); family != key[:strings.IndexAny(key, "~.")] {
			t.Errorf("it is of the family %s", family)
		}
	}
	for _, row := range []struct {
		caveats      string
		rpm, streams bool
		end          string
	}{
		{"", false, false, ""}, {"label=alice", false, false, ""}, {"rpm=60", true, false, "6f776e3d01"}, {"streams=2", false, true, "6f776e3d02"},
		{"label=alice streams=2 models=tiny rpm=60 rpm=30", true, true, "6f776e3d03"},
	} {
		for _, admin := range []bool{false, true} {
			key := mustMint(t, admin, strings.Fields(row.caveats)...)
			if u, err := Inspect(key); err != nil || !strings.HasSuffix(u.ID.String(), row.end) || u.ID.Version() != 7 {
				t.Errorf("%q: %v, %v", row.caveats, u.ID, err)
			}
			check(key, row.rpm, row.streams)
			for _, more := range []string{"rpm=1000000000", "streams=1000000000", "rpm=1 streams=1", "label=bob"} {
				check(chained(t, key, strings.Fields(more)...), row.rpm, row.streams)
			}
		}
	}
	// Keys of others.
	for end, want := range map[string][2]bool{
		"6f776e3d00": {}, "6f776e3d04": {}, "6f776e3d11": {}, "6f776e3dff": {}, "6f776e3c01": {}, "6f776e3d01": {true, false}, "6f776e3d02": {false, true}, "6f776e3d03": {true, true},
	} {
		head := userPrefix + idA[:len(idA)-10] + end
		plain := head + "." + referenceTag(testSecret, head)
		check(chained(t, plain, "rpm=60", "streams=2"), want[0], want[1])
		check(plain, false, false) // where there is no caveat, nothing was minted with one
	}
}

func TestMintedKeysWithLimitsHaveDifferentIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		u, err := Inspect(mustMint(t, false, "rpm=60", "streams=2"))
		if err != nil || seen[u.ID.String()] {
			t.Fatalf("%v comes twice (%v)", u.ID, err)
		}
		seen[u.ID.String()] = true
	}
}

func TestCaveatsComeBackInTheirOrder(t *testing.T) {
	want := mustCaveats(t, "label=alice", "models=llama3.2,qwen3:*", "id="+idA, "label=bob")
	key, err := Mint(mustSecret(t, testSecret), false, want...)
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewVerifier(mustSecret(t, testSecret)).Verify(key, beforeExpiry)
	if got := k.Limits.Caveats(); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}
