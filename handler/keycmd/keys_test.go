package keycmd

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/status"
	"github.com/ollama-proxy/ollama-proxy/handler/table"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// What the list of keys says of a key is what a proxy does with it.
func TestTheStateOfAKeyIsWhatAProxyFinds(t *testing.T) {
	b := newBox(t)
	key := map[string]string{}
	key[stateExpired], _ = b.mint("exp=1", "label=expired")
	key[stateRevoked], _ = b.mint("label=revoked")
	key[stateGone], _ = b.mint("label=gone")
	narrowed := RestrictOptions{Key: key[stateGone], Caveats: caveatsOf(t, "rpm=1"), Ledger: b.path("minted")}
	if err := Restrict(b.streams(), narrowed); err != nil {
		t.Fatal(err)
	}
	if err := signer.RotateSecret(b.path("secret"), time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{stateExpired, stateRevoked} { // of the new secret
		key[state], _ = b.mint(map[string]string{stateExpired: "exp=1", stateRevoked: "rpm=1"}[state])
	}
	key[stateValid], _ = b.mint("label=valid", "exp=33000000000")
	if err := signer.RetireSecrets(b.path("secret"), signer.Fingerprint(b.secrets())); err != nil {
		t.Fatal(err)
	}
	b.write("revocations", idOf(t, key[stateRevoked])+"\n")
	list, err := signer.ParseRevocations(strings.NewReader(b.read("revocations")))
	if err != nil {
		t.Fatal(err)
	}
	verifier := signer.NewVerifier(b.secrets()...)
	verifier.SetRevocations(list)
	verdicts := map[string]error{stateExpired: signer.ErrExpired, stateRevoked: signer.ErrRevoked, stateGone: signer.ErrBadSignature, stateValid: nil}

	states := map[string]string{}
	for line := range strings.Lines(b.keys(KeysOptions{All: true, JSON: true})) {
		var e struct{ ID, State string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if was, ok := states[e.ID]; ok && was != e.State {
			t.Errorf("%s is %s and %s", e.ID, was, e.State)
		}
		states[e.ID] = e.State
	}
	for state, k := range key {
		_, err := verifier.Verify(k, time.Now())
		if got := states[idOf(t, k)]; got != state || err != verdicts[state] {
			t.Errorf("a key that a proxy finds %v is said to be %s, not %s", err, got, state)
		}
	}
	text := b.keys(KeysOptions{})
	if lines := strings.Count(text, "\n"); lines != 2 || !strings.Contains(text, idOf(t, key[stateValid])) || !strings.Contains(b.err.String(), "6 more are expired, revoked or without their secret: --all shows all") {
		t.Errorf("%s%s", text, b.err.String())
	}
	if text := b.keys(KeysOptions{Names: []string{"gone"}, All: true}); strings.Count(text, "\n") != 3 || strings.Count(text, stateGone) != 2 {
		t.Errorf("by label: %s", text)
	}
	if text := b.keys(KeysOptions{Names: []string{key[stateValid], idOf(t, key[stateValid])}}); strings.Count(text, "\n") != 2 {
		t.Errorf("by key and by id: %s", text)
	}

	// Without the secret, nothing is called valid.
	t.Setenv("XDG_CONFIG_HOME", b.path("nowhere"))
	b.p.SecretFile = ""
	if text := b.keys(KeysOptions{}); strings.Contains(text, "  "+stateValid+"  ") || strings.Count(text, "not checked") != 4 {
		t.Errorf("without a secret: %s", text)
	}
}

func TestKeysThatAreNotThere(t *testing.T) {
	b := newBox(t)
	if err := Keys(t.Context(), b.streams(), KeysOptions{Places: b.p}); err == nil || !strings.Contains(err.Error(), b.path("minted")) {
		t.Errorf("no ledger: %v", err)
	}
	key, _ := b.mint("label=alice")
	for _, name := range []string{"bob", "alice ", key[:len(key)-2], "0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60"} {
		err := Keys(t.Context(), b.streams(), KeysOptions{Places: b.p, Names: []string{"alice", name}})
		if err == nil || !strings.HasPrefix(err.Error(), "argument 2 of 2: ") || strings.Contains(err.Error(), key[len(key)-20:len(key)-2]) || b.out.Len() > 0 {
			t.Errorf("%q: %v", name, err)
		}
	}
	b.p.Ledger = "none"
	if err := Keys(t.Context(), b.streams(), KeysOptions{Places: b.p}); err == nil || !strings.Contains(err.Error(), "--ledger") {
		t.Errorf("--ledger none: %v", err)
	}
}

// However narrow the terminal, no line is wider, and no id is cut.
func TestKeysFitTheTerminal(t *testing.T) {
	b := newBox(t)
	var ids []string
	for _, caveats := range [][]string{
		{"label=alice"}, {"label=bob the builder of very long labels that go on and on", "models=llama3.2,qwen3:*,mistral-small:24b-instruct-2501-q4_K_M", "exp=1893456000", "rpm=60", "streams=2", "from=10.0.0.0/8"},
		{"label=名前はとても長いラベル名前はとても長いラベル"}, {},
	} {
		_, id := b.mint(caveats...)
		ids = append(ids, id)
	}
	for b.columns = 20; b.columns < 200; b.columns++ {
		text := b.keys(KeysOptions{})
		for _, id := range ids {
			if !strings.Contains(text, id) {
				t.Fatalf("in %d columns there is no %s:\n%s", b.columns, id, text)
			}
		}
		for line := range strings.Lines(text) {
			if width := table.Width(strings.TrimRight(line, "\n")); width > b.columns && (b.columns >= 40 || !strings.Contains(line, "-7")) {
				t.Fatalf("in %d columns a line takes %d: %q", b.columns, width, line)
			}
		}
	}
	b.columns = 0
	if text := b.keys(KeysOptions{}); strings.Contains(text, "…") || !strings.Contains(text, "from=10.0.0.0/8") {
		t.Errorf("without a bound: %s", text)
	}
}

// A label is other people's text, also when somebody has written it into the ledger.
func TestALabelCommandsNoTerminal(t *testing.T) {
	b := newBox(t)
	_, id := b.mint()
	b.write("minted", strings.Replace(b.read("minted"), `"id":`, `"label":"\u001b[2Jx\u202e","id":`, 1))
	for _, b.columns = range []int{0, 40, 80} {
		if text := b.keys(KeysOptions{}); !strings.Contains(text, id) || strings.ContainsAny(text, "\x1b\u202e") {
			t.Errorf("%q", text)
		}
	}
}

// How often a key was used is said where it is known, and nowhere else.
func TestRequestsAreShownWhereTheProxyCountsThem(t *testing.T) {
	b := newBox(t)
	_, used := b.mint("label=a")
	b.mint("label=b")
	said := b.agreeing()
	b.proxy(said)
	if text := b.keys(KeysOptions{}); strings.Contains(text, "REQUESTS") {
		t.Errorf("nobody counts: %s", text)
	}
	said.KeysCounted, said.Keys = true, []status.KeyTotals{{Key: "a", ID: used, Requests: 3}, {Key: "eve", ID: used, Requests: 4}}
	b.proxy(said)
	if text := b.keys(KeysOptions{}); !strings.Contains(text, "REQUESTS") || !strings.Contains(text, " 7  -") || !strings.Contains(text, " 0  -") {
		t.Errorf("%s", text)
	}
	said.Keys = append(said.Keys, status.KeyTotals{Key: "other", ID: "other", Requests: 1})
	b.proxy(said)
	if text := b.keys(KeysOptions{}); !strings.Contains(text, " 7  -") || strings.Contains(text, " 0  -") {
		t.Errorf("there may be more: %s", text)
	}
	if text := b.keys(KeysOptions{JSON: true}); strings.Count(text, `"requests":7`) != 1 || strings.Count(text, `"requests"`) != 1 {
		t.Errorf("%s", text)
	}
}

// benchPlaces are a new secret and a ledger beside it, and options for as many keys as
// are noted at once.
func benchPlaces(b *testing.B) MintOptions {
	dir := b.TempDir()
	p := Places{SecretFile: dir + "/secret", Ledger: dir + "/minted"}
	if _, err := signer.CreateSecretFile(p.SecretFile); err != nil {
		b.Fatal(err)
	}
	return MintOptions{Places: p, Count: batch, Caveats: []signer.Caveat{
		{Name: "exp", Value: "33000000000"}, {Name: "models", Value: "llama3.2,qwen3:*"}, {Name: "label", Value: "alice"},
	}}
}

func BenchmarkMint(b *testing.B) {
	o := benchPlaces(b)
	for b.Loop() {
		if err := Mint(b.Context(), Streams{Out: io.Discard, Err: io.Discard}, o); err != nil {
			b.Fatal(err)
		}
	}
}

// Whoever asks for a list of a hundred thousand keys will wait for a second.
func BenchmarkKeys(b *testing.B) {
	o := benchPlaces(b)
	s := Streams{Out: io.Discard, Err: io.Discard}
	if err := Mint(b.Context(), s, o); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := Keys(b.Context(), s, KeysOptions{Places: o.Places}); err != nil {
			b.Fatal(err)
		}
	}
}
