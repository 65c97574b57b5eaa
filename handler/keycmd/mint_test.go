package keycmd

import (
	"os"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// The ledger has each key's id, and of no key more than that.
func TestMintNotesWhatItMakes(t *testing.T) {
	b := newBox(t)
	b.p.Ledger = "" // beside the secret
	o := MintOptions{Places: b.p, Count: 50, Caveats: caveatsOf(t, "label=alice", "models=llama3.2")}
	if err := Mint(t.Context(), b.streams(), o); err != nil {
		t.Fatal(err)
	}
	keys := strings.Fields(b.out.String())
	entries, damaged, err := signer.ReadLedger(b.path("minted"))
	if err != nil || damaged != 0 || len(keys) != 50 || len(entries) != 50 {
		t.Fatalf("%d keys, %d entries, %d damaged, %v", len(keys), len(entries), damaged, err)
	}
	ledger := b.read("minted")
	for i, key := range keys {
		if entries[i].ID != idOf(t, key) || entries[i].Label != "alice" || entries[i].By != "mint" || entries[i].Secret != signer.LedgerName(b.secrets()[0]) {
			t.Errorf("%+v", entries[i])
		}
		if tag := key[len(key)-43:]; strings.Contains(ledger, tag) || strings.Contains(ledger, tag[:12]) {
			t.Errorf("a tag is in the ledger")
		}
	}
	if strings.Contains(ledger, strings.TrimSpace(b.read("secret"))) {
		t.Error("the secret is in the ledger")
	}
	if said := b.err.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, b.path("minted")) {
		t.Errorf("of a new ledger: %q", said)
	}
	if b.mint(); b.err.Len() != 0 {
		t.Errorf("of one that is there: %q", b.err.String())
	}
}

func TestMintWithoutALedger(t *testing.T) {
	b := newBox(t)
	b.p.Ledger = "none"
	b.mint("label=alice")
	if _, err := os.Stat(b.path("minted")); err == nil || b.err.Len() != 0 {
		t.Errorf("%v, %q", err, b.err.String())
	}
	b.write("list", "not a ledger\n")
	for _, path := range []string{b.dir, b.path("secret"), b.path("list"), b.path("no/minted"), "/dev/full"} {
		b.p.Ledger = path
		before := b.read("secret")
		key, _ := b.mint()
		if said := b.err.String(); key == "" || strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "1 key is not noted: ") || !strings.Contains(said, path) || b.read("secret") != before {
			t.Errorf("%s: %q", path, said)
		}
	}
}

func TestRestrictNotesWhereALedgerIsNamed(t *testing.T) {
	b := newBox(t)
	key, id := b.mint("label=alice")
	before := b.read("minted")
	for ledger, want := range map[string]int{"": 1, "none": 1, b.path("minted"): 2} {
		if err := Restrict(b.streams(), RestrictOptions{Key: key, Caveats: caveatsOf(t, "rpm=1"), Ledger: ledger}); err != nil {
			t.Fatal(err)
		}
		entries, _, err := signer.ReadLedger(b.path("minted"))
		if err != nil || len(entries) != want {
			t.Errorf("%q: %d entries, %v", ledger, len(entries), err)
		}
		if want == 2 && (entries[1].Root() != id || entries[1].By != "restrict" || entries[1].Secret != "" || strings.Contains(b.read("minted"), strings.TrimSpace(b.out.String())[100:])) {
			t.Errorf("%+v", entries[1])
		}
		b.write("minted", before)
	}
}

func TestKeysThatCanDoNothingAreSaidToBeSo(t *testing.T) {
	b := newBox(t)
	b.mint("label=alice") // makes the ledger
	for caveats, want := range map[string]string{
		"rpm=1": "", "routes=admin": "mint --admin", "exp=1": "expired at 1970-01-01", "routes=chat routes=embed": "no class of routes",
		"models=a models=b": "no model", "from=10.0.0.1 from=10.0.0.2": "no address",
	} {
		key, _ := b.mint(strings.Fields(caveats)...)
		said := b.err.String()
		if strings.Contains(said, "can do nothing") != (want != "") || !strings.Contains(said, want) || strings.Count(said, "\n") > 1 {
			t.Errorf("mint %s: %q", caveats, said)
		}
		if want == "" {
			continue
		}
		if err := Restrict(b.streams(), RestrictOptions{Key: key, Caveats: caveatsOf(t, "rpm=1")}); err != nil || !strings.Contains(b.err.String(), want) {
			t.Errorf("restrict %s: %q, %v", caveats, b.err.String(), err)
		}
		if err := Inspect(t.Context(), b.streams(), InspectOptions{Places: b.p, Key: key}); !strings.Contains(b.out.String(), want) && err == nil {
			t.Errorf("inspect %s: %q, %v", caveats, b.out.String(), err)
		}
	}
	if err := Mint(t.Context(), b.streams(), MintOptions{Places: b.p, Admin: true, Count: 2, Caveats: caveatsOf(t, "routes=admin")}); err != nil || b.err.Len() > 0 {
		t.Errorf("an ADMIN key: %q, %v", b.err.String(), err)
	}
}
