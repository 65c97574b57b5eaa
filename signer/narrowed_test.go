package signer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

const idC = "0199c3a2-0000-7000-8000-000000000001" // minted after idA

// narrowed narrows a key as `restrict` does, and returns the id that it got.
func narrowed(tb testing.TB, key string, caveats ...string) (narrower string, id uuid.UUID) {
	tb.Helper()
	own, err := NewID()
	if err != nil {
		tb.Fatal(err)
	}
	narrower, err = Restrict(key, append([]Caveat{own}, mustCaveats(tb, caveats...)...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return narrower, uuid.MustParse(own.Value)
}

// TestOneNarrowedKeyIsRevokedAlone: with all that was made of it, and without its
// parent and siblings.
func TestOneNarrowedKeyIsRevokedAlone(t *testing.T) {
	root := mustMint(t, false, "label=alice")
	left, leftID := narrowed(t, root, "routes=chat")
	right, rightID := narrowed(t, root, "routes=chat")
	below, belowID := narrowed(t, left, "rpm=60")
	unnamed := chained(t, below, "models=tiny")
	if leftID == rightID || leftID == belowID {
		t.Fatal("an id comes twice")
	}
	rootID, err := ParseID(root)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{"root": root, "left": left, "right": right, "below": below, "unnamed": unnamed}
	verifier := NewVerifier(mustSecret(t, testSecret))
	for _, row := range []struct {
		name string
		id   uuid.UUID
		ends string
	}{
		{"nobody's", uuid.MustParse(idA), ""},
		{"the root's", rootID, "root left right below unnamed"},
		{"the left one's", leftID, "left below unnamed"},
		{"the right one's", rightID, "right"},
		{"the lowest one's", belowID, "below unnamed"},
	} {
		verifier.SetRevocations(mustRevocations(t, row.id.String()))
		for name, key := range keys {
			got, err := verifier.Verify(key, beforeExpiry)
			if want := strings.Contains(" "+row.ends+" ", " "+name+" "); errors.Is(err, ErrRevoked) != want || !want && err != nil || want && got != (Key{}) {
				t.Errorf("%s id is revoked, and %s gets %v", row.name, name, err)
			}
		}
	}
	for name, want := range map[string]uuid.UUID{"root": rootID, "left": leftID, "right": rightID, "below": belowID, "unnamed": belowID} {
		if got, err := ParseID(keys[name]); err != nil || got != want {
			t.Errorf("to revoke %s is to revoke %v (%v), not %v", name, got, err, want)
		}
		u, err := Inspect(keys[name])
		if err != nil {
			t.Fatal(err)
		}
		wantName := rootID.String()
		if name != "root" {
			wantName += "~" + want.String()
		}
		verifier.SetRevocations(nil)
		key, err := verifier.Verify(keys[name], beforeExpiry)
		if err != nil || key.Name() != wantName || u.Name() != wantName || key.ID != rootID {
			t.Errorf("%s is called %s and %s, not %s (%v)", name, key.Name(), u.Name(), wantName, err)
		}
		if got, err := ParseID(wantName); err != nil || got != want {
			t.Errorf("%s names %v (%v), not %v", wantName, got, err, want)
		}
	}
}

func TestExpiryComesBeforeARevokedID(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	verifier.SetRevocations(mustRevocations(t, idA))
	for _, row := range []struct {
		caveats string
		want    error
	}{
		{"id=" + idA, ErrRevoked},
		{"id=" + idA + " exp=1", ErrExpired},
		{"exp=1 id=" + idA, ErrExpired},
		{"id=" + idA + " id=" + idC, ErrRevoked},
		{"id=" + idA + " colour=red", ErrMalformed},
	} {
		key := chained(t, mustMint(t, false), strings.Fields(row.caveats)...)
		if _, err := verifier.Verify(key, beforeExpiry); err != row.want {
			t.Errorf("%s: %v, not %v", row.caveats, err, row.want)
		}
	}
}

// A line "before" asks when a key was minted, and what its holder has written into an id
// says nothing of that.
func TestBeforeIsAboutTheHead(t *testing.T) {
	const longAgo, farOff = "00000000-0001-7000-8000-000000000000", "ffffffff-ffff-7000-8000-000000000000"
	verifier := NewVerifier(mustSecret(t, testSecret))
	for _, row := range []struct {
		before time.Duration
		want   error
	}{{-time.Hour, nil}, {time.Hour, ErrRevoked}} {
		verifier.SetRevocations(mustRevocations(t, "before "+time.Now().Add(row.before).UTC().Format(time.RFC3339)))
		for _, id := range []string{longAgo, farOff} {
			if _, err := verifier.Verify(mustMint(t, false, "id="+id), beforeExpiry); err != row.want {
				t.Errorf("before %v, id %s: %v", row.before, id, err)
			}
		}
	}
}

// Whatever a holder writes into an id, they lose by it or nothing happens.
func TestAnIDOfSomebodyElseHarmsNobody(t *testing.T) {
	alice, mallory := mustMint(t, false, "label=alice"), mustMint(t, false)
	hers, err := ParseID(alice)
	if err != nil {
		t.Fatal(err)
	}
	forged := mallory
	if forged, err = Restrict(mallory, mustCaveats(t, "id="+hers.String(), "label=alice")...); err != nil {
		t.Fatal(err)
	}
	verifier := NewVerifier(mustSecret(t, testSecret))
	good, err := verifier.Verify(forged, beforeExpiry)
	if key, _ := verifier.Verify(alice, beforeExpiry); err != nil || good.Name() == key.Name() || good.ID == key.ID {
		t.Errorf("%s passes for %s", good.Name(), key.Name())
	}
	verifier.SetRevocations(mustRevocations(t, good.ID.String()))
	if _, err := verifier.Verify(forged, beforeExpiry); !errors.Is(err, ErrRevoked) {
		t.Errorf("its own head is revoked: %v", err)
	}
	if _, err := verifier.Verify(alice, beforeExpiry); err != nil {
		t.Errorf("somebody else's head is revoked: %v", err)
	}
}

// TestAChildIsNeverGoodWhereItsParentIsNot: whatever is revoked, however old keys may
// become, at any moment, and whatever the child was given.
func TestAChildIsNeverGoodWhereItsParentIsNot(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ids := []string{idA, idC, "0199c3a3-0000-7000-8000-000000000002", "ffffffff-ffff-7000-8000-000000000000", "00000000-0000-7000-8000-000000000000"}
	start := time.Unix(1_760_000_000, 0)
	verifier := NewVerifier(mustSecret(t, testSecret))
	verifier.SetAdminSecrets([]Secret{mustSecret(t, strings.ToUpper(testSecret))})
	pick := func() (all []string) {
		for range random.IntN(4) {
			all = append(all, []string{
				"id=" + ids[random.IntN(len(ids))], "label=" + string(rune('a'+random.IntN(3))), fmt.Sprintf("exp=%d", start.Unix()+random.Int64N(200_000)-100_000), "rpm=1000000000", "routes=chat,admin",
			}[random.IntN(5)])
		}
		return all
	}
	good := 0
	for range 3000 {
		id := ids[random.IntN(len(ids))]
		head, secret := userPrefix+id, testSecret
		if random.IntN(2) == 0 {
			head, secret = adminPrefix+id, []string{testSecret, strings.ToUpper(testSecret)}[random.IntN(2)]
		}
		parent := chained(t, head+"."+referenceTag(secret, head), pick()...)
		child := chained(t, parent, pick()...)
		var list strings.Builder
		for range random.IntN(3) {
			fmt.Fprintln(&list, ids[random.IntN(len(ids))])
		}
		if random.IntN(3) == 0 {
			fmt.Fprintln(&list, "before", start.Add(time.Duration(random.Int64N(400_000)-200_000)*time.Second).UTC().Format(time.RFC3339))
		}
		verifier.SetRevocations(mustRevocations(t, list.String()))
		verifier.SetMaxAge(time.Duration(random.Int64N(400_000)) * time.Second * time.Duration(random.IntN(2)))
		now := start.Add(time.Duration(random.Int64N(200_000)-100_000) * time.Second)
		held, parentErr := verifier.Verify(parent, now)
		narrower, err := verifier.Verify(child, now)
		if err != nil {
			continue
		}
		good++
		if parentErr != nil {
			t.Fatalf("%s is good, and its parent is not: %v\n%s", narrower.Name(), parentErr, list.String())
		}
		narrows(t, held.Limits, narrower.Limits)
		ends, itsEnd := verifier.Expires(&held), verifier.Expires(&narrower)
		if held.ID != narrower.ID || held.Admin != narrower.Admin || !ends.IsZero() && (itsEnd.IsZero() || itsEnd.After(ends)) {
			t.Fatalf("%s ends %v, admin %t; its parent %v, %t", narrower.Name(), itsEnd, narrower.Admin, ends, held.Admin)
		}
	}
	if good < 100 {
		t.Errorf("only %d were good: that shows nothing", good)
	}
}
