package signer

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestKeysHaveALongestLife(t *testing.T) {
	minted, ok := mintedAt(uuid.MustParse(idA))
	if !ok {
		t.Fatal("idA has no time")
	}
	key := func(id string, caveats ...string) string {
		head := userPrefix + id
		return chained(t, head+"."+referenceTag(testSecret, head), caveats...)
	}
	aged, narrow, timeless := key(idA), key(idA, "id="+idC, "exp=4102444800"), key(idB)
	verifier := NewVerifier(mustSecret(t, testSecret))
	check := func(name, key string, now time.Time, want error) {
		t.Helper()
		if _, err := verifier.Verify(key, now); err != want {
			t.Errorf("%s: %v, not %v", name, err, want)
		}
	}
	const age = 90 * 24 * time.Hour
	late := minted.Add(100 * age)
	check("no bound", aged, late, nil)
	check("no bound, no time", timeless, late, nil)
	verifier.SetMaxAge(age)
	for name, key := range map[string]string{"plain": aged, "narrowed": narrow} {
		check(name+", young", key, minted.Add(age-1), nil)
		check(name+", at its end", key, minted.Add(age), ErrExpired)
		check(name+", old", key, late, ErrExpired)
		check(name+", minted by a clock ahead", key, minted.Add(-time.Hour), nil)
	}
	check("it does not say when it was minted", timeless, minted, ErrExpired)
	check("forged", aged[:len(aged)-1]+"A", late, ErrBadSignature)
	check("old, and not understood", key(idA, "colour=red"), late, ErrMalformed)
	verifier.SetRevocations(mustRevocations(t, idA))
	check("old and revoked", aged, late, ErrExpired)
	check("revoked", aged, minted, ErrRevoked)
	verifier.SetRevocations(nil)
	verifier.SetMaxAge(0)
	check("the bound is gone", aged, late, nil)
}

func TestExpiresIsTheEarliestEnd(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	minted, _ := mintedAt(uuid.MustParse(idA))
	const age = time.Hour
	before, after := minted.Add(age/2).Truncate(time.Second), minted.Add(2*age).Truncate(time.Second)
	for _, row := range []struct {
		exp, want time.Time
		age       time.Duration
	}{
		{time.Time{}, time.Time{}, 0}, {before, before, 0}, {time.Time{}, minted.Add(age), age},
		{before, before, age}, {after, minted.Add(age), age},
	} {
		var caveats []string
		if !row.exp.IsZero() {
			caveats = append(caveats, "exp="+formatUnix(row.exp))
		}
		head := userPrefix + idA
		verifier.SetMaxAge(0)
		key, err := verifier.Verify(chained(t, head+"."+referenceTag(testSecret, head), caveats...), minted)
		if err != nil {
			t.Fatal(err)
		}
		verifier.SetMaxAge(row.age)
		if got := verifier.Expires(&key); !got.Equal(row.want) {
			t.Errorf("exp %v, longest life %v: ends at %v, not %v", row.exp, row.age, got, row.want)
		}
		if row.want.IsZero() {
			continue
		}
		text := chained(t, head+"."+referenceTag(testSecret, head), caveats...)
		if _, err := verifier.Verify(text, row.want.Add(-1)); err != nil {
			t.Errorf("just before its end: %v", err)
		}
		if _, err := verifier.Verify(text, row.want); err != ErrExpired {
			t.Errorf("at its end: %v", err)
		}
	}
}

func formatUnix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
