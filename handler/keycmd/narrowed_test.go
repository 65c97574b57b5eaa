package keycmd

import (
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/status"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// narrow restricts a key, and notes it. Its id is that by which it can be revoked alone.
func (b *box) narrow(key string, o RestrictOptions) (narrower, id string) {
	b.Helper()
	o.Key, o.Ledger = key, b.path("minted")
	if err := Restrict(b.streams(), o); err != nil {
		b.Fatal(err)
	}
	narrower = strings.TrimSpace(b.out.String())
	revokes, err := signer.ParseID(narrower)
	if err != nil {
		b.Fatal(err)
	}
	return narrower, revokes.String()
}

// Whoever names a narrowed key, whether by the key, its id or its label, ends it and what
// was made from it, and no other. The list of keys says of each what a proxy does.
func TestANarrowedKeyEndsAlone(t *testing.T) {
	for _, by := range []string{"key", "id", "name", "label"} {
		b := newBox(t)
		head, headID := b.mint("rpm=100")
		child, childID := b.narrow(head, RestrictOptions{Caveats: caveatsOf(t, "label=child", "rpm=9")})
		grandchild, _ := b.narrow(child, RestrictOptions{Caveats: caveatsOf(t, "rpm=8"), NoID: true})
		sibling, siblingID := b.narrow(head, RestrictOptions{Caveats: caveatsOf(t, "label=sibling")})
		word := map[string]string{"key": child, "id": childID, "name": headID + "~" + childID, "label": "child"}[by]
		if err := Revoke(t.Context(), b.streams(), RevokeOptions{Places: b.p, Keys: []string{word}}); err != nil {
			t.Fatalf("by %s: %v", by, err)
		}
		if lines := strings.Fields(b.read("revocations")); lines[0] != childID || lines[len(lines)-1] != "child" {
			t.Errorf("by %s: %q", by, lines)
		}
		b.checkStates(by, map[string]bool{head: true, child: false, grandchild: false, sibling: true})
		text := b.keys(KeysOptions{})
		if !strings.Contains(text, headID) || !strings.Contains(text, siblingID) || strings.Contains(text, childID) {
			t.Errorf("by %s: %s", by, text)
		}
		if err := Revoke(t.Context(), b.streams(), RevokeOptions{Places: b.p, Keys: []string{headID}}); err != nil {
			t.Fatal(err)
		}
		b.checkStates(by, map[string]bool{head: false, child: false, grandchild: false, sibling: false})
	}
}

// TestACopiedIDEndsNobodyElse: the holder of a key may give a narrowed one the id of
// another key.
func TestACopiedIDEndsNobodyElse(t *testing.T) {
	b := newBox(t)
	victim, victimID := b.mint("label=bob")
	own, ownID := b.mint("label=eve")
	copied, err := signer.NewCaveat("id", victimID)
	if err != nil {
		t.Fatal(err)
	}
	evil, err := signer.Restrict(own, copied)
	if err != nil {
		t.Fatal(err)
	}
	before := b.read("revocations")
	for _, word := range []string{evil, ownID + "~" + victimID} {
		err := Revoke(t.Context(), b.streams(), RevokeOptions{Places: b.p, Keys: []string{word}})
		if err == nil || !strings.Contains(err.Error(), ownID) || !strings.Contains(err.Error(), "bob") || strings.Contains(err.Error(), evil) {
			t.Errorf("revoke says %v", err)
		}
	}
	if b.read("revocations") != before {
		t.Error("the list has changed")
	}
	b.checkStates("nothing", map[string]bool{victim: true, own: true})
	if err := Revoke(t.Context(), b.streams(), RevokeOptions{Places: b.p, Keys: []string{ownID}}); err != nil {
		t.Fatal(err)
	}
	b.checkStates("the head", map[string]bool{victim: true, own: false})
}

// checkStates compares what the list of keys says of keys with what a proxy does.
func (b *box) checkStates(by string, good map[string]bool) {
	b.Helper()
	list, err := signer.ParseRevocations(strings.NewReader(b.read("revocations")))
	if err != nil {
		b.Fatal(err)
	}
	verifier := signer.NewVerifier(b.secrets()...)
	verifier.SetRevocations(list)
	entries, _, err := signer.ReadLedger(b.path("minted"))
	if err != nil || len(entries) != len(good) {
		b.Fatal(len(entries), err)
	}
	for key, want := range good {
		_, err := verifier.Verify(key, time.Now())
		if (err == nil) != want {
			b.Errorf("by %s: a proxy says %v", by, err)
		}
		entry, err := signer.NewLedgerEntry(key, "restrict", "", time.Now())
		if err != nil || entry.Revoked(list) == want {
			b.Errorf("by %s: the ledger has it as revoked: %t, %v", by, want, err)
		}
	}
}

// A proxy counts a narrowed key by its head's id and its own: no other has its requests.
func TestRequestsOfANarrowedKey(t *testing.T) {
	b := newBox(t)
	head, headID := b.mint("label=alice")
	_, id := b.narrow(head, RestrictOptions{Caveats: caveatsOf(t, "rpm=9")})
	said := b.agreeing()
	said.KeysCounted, said.Keys = true, []status.KeyTotals{{ID: headID, Requests: 3}, {ID: headID + "~" + id, Requests: 4}}
	b.proxy(said)
	lines := strings.Split(b.keys(KeysOptions{JSON: true}), "\n")
	if !strings.Contains(lines[0], `"requests":3`) || !strings.Contains(lines[1], `"requests":4`) || !strings.Contains(lines[1], `"id":"`+id) {
		t.Errorf("%s", lines)
	}
}
