package signer

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestMint(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	shape := regexp.MustCompile(`^OLLAMA-(ADMIN-)?[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.[A-Za-z0-9_-]{43}$`)
	seen := map[string]bool{}
	for _, admin := range []bool{false, true} {
		for range 100 {
			start := time.Now().Truncate(time.Millisecond)
			text := mustMint(t, admin)
			if !shape.MatchString(text) {
				t.Errorf("%q is not a key's shape", text)
			}
			key, err := verifier.Verify(text, time.Now())
			if err != nil || key.Admin != admin || seen[key.ID.String()] {
				t.Errorf("%v, admin %v, %v", key.ID, key.Admin, err)
			}
			seen[key.ID.String()] = true
			u, err := Inspect(text)
			if err != nil {
				t.Fatal(err)
			}
			if at, ok := u.Minted(); !ok || at.Before(start) || at.After(time.Now()) {
				t.Errorf("minted at %v, %v", at, ok)
			}
		}
	}
}

func TestMintRefusesWhatNoServerWouldTake(t *testing.T) {
	secret := mustSecret(t, testSecret)
	for name, caveats := range map[string][]Caveat{
		"an unknown name": {{"colour", "red"}},
		"no value":        {{"label", ""}},
		"too many":        make17("label", "a"),
		"too long":        {{"models", strings.Repeat("a,", 1000) + "a"}},
	} {
		if key, err := Mint(secret, false, caveats...); err == nil || key != "" {
			t.Errorf("%s: %q, %v", name, key, err)
		}
		if key, err := Restrict(mustMint(t, false), caveats...); err == nil || key != "" {
			t.Errorf("%s, added: %q, %v", name, key, err)
		}
	}
}

func make17(name, value string) (caveats []Caveat) {
	for range maxCaveats + 1 {
		caveats = append(caveats, Caveat{name, value})
	}
	return caveats
}

func TestRestrictIsMintingWithMoreCaveats(t *testing.T) {
	key := mustMint(t, true, "label=alice")
	p, _ := split(key)
	all := mustCaveats(t, "label=alice", "models=llama3.2", "exp=4102444800")
	want, err := chain(p.head, link([]byte(testSecret), p.head), all)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Restrict(key, all[1:]...)
	if err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRestrictOfNoKey(t *testing.T) {
	for _, text := range []string{"", "OLLAMA-", "sk-1234", mustMint(t, false) + "\n"} {
		if _, err := Restrict(text, mustCaveats(t, "label=a")...); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Restrict(mustMint(t, false)); err == nil {
		t.Error("adding nothing is no narrowing")
	}
}
