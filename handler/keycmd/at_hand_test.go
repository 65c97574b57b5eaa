package keycmd

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// states gives the states of the keys in a ledger, by their labels.
func (b *box) states(p Places, ledger string) map[string]string {
	b.Helper()
	p.Revocations, p.Ledger = b.path("revocations"), ledger
	if err := Keys(b.Context(), b.streams(), KeysOptions{Places: p, All: true, JSON: true}); err != nil {
		b.Fatal(err)
	}
	states := map[string]string{}
	for line := range strings.Lines(b.out.String()) {
		var e struct{ Label, State string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			b.Fatal(err)
		}
		states[e.Label] = e.State
	}
	return states
}

// newPlant is a box with a master secret and one for ADMIN keys, and a key of each kind
// beside them, labelled as it.
func newPlant(t *testing.T) *box {
	t.Helper()
	b := newBox(t)
	b.p.Ledger = ""
	b.mkdir("adm")
	if _, err := signer.CreateSecretFile(b.path("adm/secret")); err != nil {
		t.Fatal(err)
	}
	for label, o := range map[string]MintOptions{
		"plain":           {},
		"derived":         {Derive: "berlin"},
		"admin":           {Admin: true},
		"derived admin":   {Admin: true, Derive: "berlin"},
		"apart":           {Admin: true, Places: Places{AdminSecretFile: b.path("adm/secret")}},
		"apart, derived":  {Admin: true, Derive: "berlin", Places: Places{AdminSecretFile: b.path("adm/secret")}},
		"plain all along": {Places: Places{AdminSecretFile: b.path("adm/secret")}},
	} {
		o.SecretFile, o.Count, o.Caveats = b.p.SecretFile, 1, caveatsOf(t, "label="+label)
		if err := Mint(t.Context(), b.streams(), o); err != nil {
			t.Fatalf("%s: %v", label, err)
		}
	}
	return b
}

// A key is noted beside the file that made it, and what is said of its secret depends on
// the files at hand as what a proxy would accept does.
func TestTheStateOfKeysOfOtherSecrets(t *testing.T) {
	b := newPlant(t)
	master, adm := b.path("secret"), b.path("adm/secret")
	_, site, err := signer.Derive(b.secrets()[0], "berlin")
	if err != nil {
		t.Fatal(err)
	}
	b.write("site", site+"\n")
	t.Setenv("XDG_CONFIG_HOME", b.path("nowhere"))
	for _, tt := range []struct {
		name   string
		p      Places
		ledger string
		want   map[string]string
	}{
		{"master", Places{SecretFile: master}, "", map[string]string{
			"plain": stateValid, "plain all along": stateValid, "derived": stateValid, "admin": stateValid, "derived admin": stateValid}},
		{"master, where ADMIN keys have their own", Places{SecretFile: master, AdminSecretFile: adm}, "", map[string]string{
			"plain": stateValid, "plain all along": stateValid, "derived": stateValid, "admin": stateGone, "derived admin": stateGone}},
		{"master, where no ADMIN key is good", Places{SecretFile: master, AdminSecretFile: signer.NoAdmin}, "", map[string]string{
			"plain": stateValid, "plain all along": stateValid, "derived": stateValid, "admin": stateGone, "derived admin": stateGone}},
		{"a site", Places{SecretFile: b.path("site")}, b.path("minted"), map[string]string{
			"plain": stateGone, "plain all along": stateGone, "derived": stateValid, "admin": stateGone, "derived admin": stateValid}},
		{"the ledger alone", Places{}, b.path("minted"), map[string]string{
			"plain": stateUnchecked, "plain all along": stateUnchecked, "derived": stateUnchecked, "admin": stateUnchecked, "derived admin": stateUnchecked}},

		{"ADMIN keys and their secret", Places{SecretFile: master, AdminSecretFile: adm}, b.path("adm/minted"), map[string]string{"apart": stateValid, "apart, derived": stateValid}},
		{"ADMIN keys beside their secret", Places{AdminSecretFile: adm}, "", map[string]string{"apart": stateValid, "apart, derived": stateValid}},
		{"ADMIN keys, their secret named as any", Places{SecretFile: adm}, "", map[string]string{"apart": stateValid, "apart, derived": stateValid}},
		{"ADMIN keys without their secret", Places{SecretFile: master}, b.path("adm/minted"), map[string]string{"apart": stateUnchecked, "apart, derived": stateUnchecked}},
	} {
		if got := b.states(tt.p, tt.ledger); !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, not %v", tt.name, got, tt.want)
		}
	}
}

// A derived secret follows from a line of the master: with that line its keys end, and
// whoever retires it hears so.
func TestDerivedKeysEndWithTheirLine(t *testing.T) {
	b := newPlant(t)
	for _, file := range []struct {
		path, ledger, ends string
		mint               MintOptions
	}{
		{b.path("secret"), b.path("minted"), " 5 keys of the ledger", MintOptions{Places: Places{SecretFile: b.path("secret")}}},
		{b.path("adm/secret"), b.path("adm/minted"), " 2 keys of the ledger", MintOptions{Admin: true, Places: Places{SecretFile: b.path("secret"), AdminSecretFile: b.path("adm/secret")}}},
	} {
		if err := Secret(t.Context(), b.streams(), SecretOptions{Rotate: file.path}); err != nil {
			t.Fatal(err)
		}
		for label, state := range b.states(file.mint.Places, file.ledger) {
			if state != stateValid {
				t.Errorf("%s: rotated: %s is %s", file.path, label, state)
			}
		}
		o := file.mint
		o.Count, o.Derive, o.Caveats = 1, "berlin", caveatsOf(t, "label=new")
		if err := Mint(t.Context(), b.streams(), o); err != nil {
			t.Fatal(err)
		}
		if err := Secret(t.Context(), b.streams(), SecretOptions{Retire: file.path, Yes: true}); err != nil || !strings.Contains(b.err.String(), file.ends) {
			t.Errorf("%s: %v, %q", file.path, err, b.err.String())
		}
		for label, state := range b.states(o.Places, file.ledger) {
			if want := map[bool]string{true: stateValid, false: stateGone}[label == "new"]; state != want {
				t.Errorf("%s: retired: %s is %s", file.path, label, state)
			}
		}
	}
}

// A name that was damaged in a ledger is no reason to fail, nor to take the key for good.
func TestADerivedNameThatIsNone(t *testing.T) {
	b := newPlant(t)
	b.write("minted", strings.ReplaceAll(b.read("minted"), `"berlin"`, `"Berlin!"`))
	if states := b.states(Places{SecretFile: b.path("secret")}, ""); states["derived"] != stateGone || states["plain"] != stateValid {
		t.Errorf("%v", states)
	}
}
