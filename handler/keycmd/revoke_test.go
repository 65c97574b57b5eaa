package keycmd

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

func (b *box) revoke(o RevokeOptions) error {
	o.Places = b.p
	return Revoke(b.Context(), b.streams(), o)
}

func TestRevokeByLabel(t *testing.T) {
	b := newBox(t)
	_, alice := b.mint("label=alice")
	b.mint("label=alice", "exp=1") // has ended by itself
	_, bob := b.mint("label=bob the builder")
	if err := b.revoke(RevokeOptions{Keys: []string{"alice"}, Reason: "lost"}); err != nil {
		t.Fatal(err)
	}
	if text := b.read("revocations"); !regexp.MustCompile(`^ ` + alice + ` \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ alice: lost\n$`).MatchString(text) {
		t.Errorf("%q", text)
	}
	before := b.read("revocations")
	if err := b.revoke(RevokeOptions{Keys: []string{"alice"}}); err != nil || b.read("revocations") != before || !strings.Contains(b.err.String(), "nothing was added") {
		t.Errorf("once more: %v, %q", err, b.err.String())
	}
	b.in = "bob the builder\n" + alice + "\n"
	if err := b.revoke(RevokeOptions{Keys: []string{"-"}}); err != nil || strings.Count(b.read("revocations"), "\n") != 2 || !strings.Contains(b.read("revocations"), bob) {
		t.Errorf("from standard input: %v, %q", err, b.read("revocations"))
	}
}

// Where several keys have the label, whoever ends one must say which.
func TestALabelOfSeveralKeys(t *testing.T) {
	b := newBox(t)
	_, first := b.mint("label=alice")
	_, second := b.mint("label=alice")
	b.mint("label=bob")
	err := b.revoke(RevokeOptions{Keys: []string{"bob", "alice"}})
	if err == nil || !strings.HasPrefix(err.Error(), "argument 2 of 2: 2 keys have this label") || b.read("revocations") != "" {
		t.Errorf("%v: %q", err, b.read("revocations"))
	}
	if said := b.err.String(); !strings.Contains(said, first) || !strings.Contains(said, second) || b.out.Len() > 0 {
		t.Errorf("%q, %q", said, b.out.String())
	}
	if err := b.revoke(RevokeOptions{Keys: []string{first}}); err != nil {
		t.Fatal(err)
	}
	if text := b.read("revocations"); !strings.Contains(text, first) || !strings.HasSuffix(text, "Z alice\n") {
		t.Errorf("by its id: %q", text)
	}
	if err := b.revoke(RevokeOptions{Keys: []string{"alice"}}); err != nil || !strings.Contains(b.read("revocations"), second) {
		t.Errorf("the last one: %v, %q", err, b.read("revocations"))
	}

	b.write("revocations", "")
	if err := b.revoke(RevokeOptions{AllOf: "alice"}); err != nil || strings.Count(b.read("revocations"), "\n") != 2 {
		t.Errorf("all: %v, %q", err, b.read("revocations"))
	}
	if err := b.revoke(RevokeOptions{AllOf: "carol"}); err == nil || !strings.HasPrefix(err.Error(), "--all-of: ") {
		t.Errorf("all of nobody's: %v", err)
	}
}

// A key narrowed without an id of its own is the same key to the list.
func TestANarrowedKeyIsNotAnother(t *testing.T) {
	b := newBox(t)
	key, id := b.mint("label=alice")
	for range 2 {
		narrower, err := signer.Restrict(key, caveatsOf(t, "rpm=1")...)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := signer.NewLedgerEntry(narrower, "restrict", "", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := signer.AppendLedger(b.p.Ledger, []signer.LedgerEntry{entry}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.revoke(RevokeOptions{Keys: []string{"alice"}}); err != nil || strings.Count(b.read("revocations"), id) != 1 {
		t.Errorf("%v, %q", err, b.read("revocations"))
	}
}

// The label noted beside a key is its owner's, and not what its holder has added.
func TestTheNotedLabelIsTheOwners(t *testing.T) {
	b := newBox(t)
	key, id := b.mint()
	if err := Restrict(b.streams(), RestrictOptions{Key: key, Caveats: caveatsOf(t, "label=boss")}); err != nil {
		t.Fatal(err)
	}
	narrower := strings.TrimSpace(b.out.String())
	if err := b.revoke(RevokeOptions{Keys: []string{narrower}}); err != nil {
		t.Fatal(err)
	}
	if text := b.read("revocations"); strings.Contains(text, id) && strings.Contains(text, "boss") {
		t.Errorf("%q", text)
	}
}

func TestALabelNeedsALedger(t *testing.T) {
	b := newBox(t)
	for _, ledger := range []string{b.path("minted"), "none", b.path("secret")} {
		b.p.Ledger = ledger
		if err := b.revoke(RevokeOptions{Keys: []string{"alice"}}); err == nil || !strings.Contains(err.Error(), "a label stands for a key of the ledger: ") || b.read("revocations") != "" {
			t.Errorf("%s: %v", ledger, err)
		}
		b.write("revocations", "")
		id := "0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60"
		if err := b.revoke(RevokeOptions{Keys: []string{id}}); err != nil || !strings.Contains(b.read("revocations"), id) {
			t.Errorf("%s, an id: %v", ledger, err)
		}
		b.write("revocations", "")
	}
}

// A list that was named by mistake is not made: no serve reads it.
func TestRevokeMakesNoListUnasked(t *testing.T) {
	b := newBox(t)
	_, id := b.mint("label=alice")
	b.p.Revocations = b.path("revocatoins")
	for _, o := range []RevokeOptions{{Keys: []string{id}}, {Keys: []string{"alice"}}, {AllOf: "alice"}, {Before: "now"}} {
		if err := b.revoke(o); err == nil || !strings.Contains(err.Error(), "there is no list "+b.p.Revocations) {
			t.Errorf("%+v: %v", o, err)
		}
		if _, err := os.Stat(b.p.Revocations); err == nil {
			t.Fatal("there is one now")
		}
	}
	if err := b.revoke(RevokeOptions{Keys: []string{"alice"}, Create: true}); err != nil || !strings.Contains(b.read("revocatoins"), id) {
		t.Error(err)
	}
}

// Of a variable that is not set a shell makes an empty word, which is no key to revoke.
func TestAnEmptyWordIsNoKey(t *testing.T) {
	b := newBox(t)
	_, id := b.mint()
	for _, words := range [][]string{{""}, {" "}, {id, ""}, {"\t", id}} {
		if err := b.revoke(RevokeOptions{Keys: words}); err == nil || !strings.Contains(err.Error(), "an empty word") || b.read("revocations") != "" {
			t.Errorf("revoke %q: %v, %q", words, err, b.read("revocations"))
		}
		if err := Keys(t.Context(), b.streams(), KeysOptions{Places: b.p, Names: words}); err == nil || b.out.Len() > 0 {
			t.Errorf("keys %q: %v", words, err)
		}
	}
}

func TestRevokeAtAURL(t *testing.T) {
	b := newBox(t)
	b.p.Revocations = "http://user:password@127.0.0.1:1/list"
	if err := b.revoke(RevokeOptions{Keys: []string{"0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60"}}); err == nil || !strings.Contains(err.Error(), "is at a URL") || strings.Contains(err.Error(), "password") {
		t.Error(err)
	}
}
