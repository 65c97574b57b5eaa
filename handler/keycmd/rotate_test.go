package keycmd

import (
	"strings"
	"testing"
)

// Before keys end, whoever ends them hears how many and whose; and without a yes, none
// does.
func TestRetireSaysWhatEnds(t *testing.T) {
	b := newBox(t)
	b.mint("label=alice")
	b.mint("label=bob")
	b.mint("label=bob")
	b.mint("label=expired", "exp=1")
	_, gone := b.mint("label=gone")
	b.write("revocations", gone+"\n")
	run := func(o SecretOptions) error {
		o.Places = b.p
		return Secret(t.Context(), b.streams(), o)
	}
	if err := run(SecretOptions{Retire: b.path("secret"), Yes: true}); err != nil || !strings.Contains(b.err.String(), "nothing to retire") {
		t.Errorf("a single secret: %v, %q", err, b.err.String())
	}
	if err := run(SecretOptions{Rotate: b.path("secret")}); err != nil || len(b.secrets()) != 2 || b.out.Len() > 0 {
		t.Fatalf("%d secrets, %v", len(b.secrets()), err)
	}
	b.mint("label=carol")
	before := b.read("secret")
	b.in = "y\n" // a pipe is nobody
	err := run(SecretOptions{Retire: b.path("secret")})
	if err == nil || !strings.Contains(err.Error(), "--yes") || b.read("secret") != before || !strings.Contains(b.err.String(), " 3 keys of the ledger") || !strings.Contains(b.err.String(), "(alice, bob)") {
		t.Errorf("without --yes: %v, %q", err, b.err.String())
	}
	if err := run(SecretOptions{Retire: b.path("secret"), Yes: true}); err != nil || len(b.secrets()) != 1 || strings.Contains(b.err.String(), b.read("secret")[:20]+"x") {
		t.Errorf("with --yes: %v", err)
	}
	if text := b.keys(KeysOptions{}); !strings.Contains(text, "carol") || strings.Contains(text, "alice") {
		t.Errorf("%s", text)
	}
	for _, said := range []string{b.err.String(), b.out.String()} {
		for _, line := range strings.Fields(before) {
			if len(line) >= 32 && strings.Contains(said, line) {
				t.Error("a secret came out")
			}
		}
	}
}

func TestRetireWithoutALedger(t *testing.T) {
	b := newBox(t)
	for _, ledger := range []string{"", "none"} {
		b.p.Ledger = ledger
		if err := Secret(t.Context(), b.streams(), SecretOptions{Rotate: b.path("secret")}); err != nil {
			t.Fatal(err)
		}
		if err := Secret(t.Context(), b.streams(), SecretOptions{Places: b.p, Retire: b.path("secret"), Yes: true}); err != nil || !strings.Contains(b.err.String(), "not known") {
			t.Errorf("%q: %v, %q", ledger, err, b.err.String())
		}
	}
	b.p.Ledger = b.path("elsewhere")
	if err := Secret(t.Context(), b.streams(), SecretOptions{Rotate: b.path("secret")}); err != nil {
		t.Fatal(err)
	}
	if err := Secret(t.Context(), b.streams(), SecretOptions{Places: b.p, Retire: b.path("secret"), Yes: true}); err == nil || len(b.secrets()) != 2 {
		t.Errorf("a ledger that was named and is not there: %v", err)
	}
}

func TestSecretsFlagsThatExclude(t *testing.T) {
	b := newBox(t)
	for _, o := range []SecretOptions{
		{Out: "a", Rotate: "b"}, {Rotate: "a", Retire: "b"}, {Out: "a", Retire: "b", Yes: true}, {Yes: true}, {Rotate: b.path("secret"), Yes: true}, {IfMissing: true}, {Rotate: b.path("secret"), IfMissing: true},
	} {
		if err := Secret(t.Context(), b.streams(), o); err == nil || b.out.Len() > 0 || len(b.secrets()) != 1 {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
