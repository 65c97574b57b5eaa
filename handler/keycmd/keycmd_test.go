package keycmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ollama-proxy/ollama-proxy/handler/status"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

func TestMain(m *testing.M) {
	signer.SystemSecretFile = "" // this machine's is none of ours
	goleak.VerifyTestMain(m)
}

// box is a directory with a secret, a list and a ledger, and what commands say there.
type box struct {
	*testing.T
	dir      string
	p        Places
	in       string
	columns  int
	out, err bytes.Buffer
}

func newBox(t *testing.T) *box {
	t.Helper()
	b := &box{T: t, dir: t.TempDir()}
	b.p = Places{SecretFile: b.path("secret"), Revocations: b.path("revocations"), Ledger: b.path("minted")}
	if _, err := signer.CreateSecretFile(b.p.SecretFile); err != nil {
		t.Fatal(err)
	}
	b.write("revocations", "")
	return b
}

func (b *box) path(name string) string { return filepath.Join(b.dir, name) }

func (b *box) mkdir(name string) {
	b.Helper()
	if err := os.Mkdir(b.path(name), 0o700); err != nil {
		b.Fatal(err)
	}
}

func (b *box) write(name, text string) {
	b.Helper()
	if err := os.WriteFile(b.path(name), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

func (b *box) read(name string) string {
	b.Helper()
	text, err := os.ReadFile(b.path(name))
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// streams are empty ones; what stood in them is forgotten.
func (b *box) streams() Streams {
	b.out.Reset()
	b.err.Reset()
	return Streams{In: strings.NewReader(b.in), Out: &b.out, Err: &b.err, Columns: b.columns}
}

func caveatsOf(t *testing.T, all ...string) (caveats []signer.Caveat) {
	t.Helper()
	for _, text := range all {
		name, value, _ := strings.Cut(text, "=")
		c, err := signer.NewCaveat(name, value)
		if err != nil {
			t.Fatal(err)
		}
		caveats = append(caveats, c)
	}
	return caveats
}

// mint makes a key, and notes it.
func (b *box) mint(caveats ...string) (key, id string) {
	b.Helper()
	if err := Mint(b.Context(), b.streams(), MintOptions{Places: b.p, Count: 1, Caveats: caveatsOf(b.T, caveats...)}); err != nil {
		b.Fatal(err)
	}
	key = strings.TrimSpace(b.out.String())
	return key, idOf(b.T, key)
}

func idOf(t *testing.T, key string) string {
	t.Helper()
	claims, err := signer.Inspect(key)
	if err != nil {
		t.Fatal(err)
	}
	return claims.ID.String()
}

func (b *box) keys(o KeysOptions) string {
	b.Helper()
	o.Places = b.p
	if err := Keys(b.Context(), b.streams(), o); err != nil {
		b.Fatal(err)
	}
	return b.out.String()
}

// secrets are those of the file.
func (b *box) secrets() []signer.Secret {
	b.Helper()
	secrets, _, err := signer.ReadSecrets(b.p.SecretFile)
	if err != nil {
		b.Fatal(err)
	}
	return secrets
}

// agreeing is what a proxy says that has the same as the box.
func (b *box) agreeing() status.Status {
	b.Helper()
	list, err := signer.ParseRevocations(strings.NewReader(b.read("revocations")))
	if err != nil {
		b.Fatal(err)
	}
	s := status.Status{
		SecretFingerprint: hash(signer.Fingerprint(b.secrets())), RevocationsHash: hash(list.Hash()),
		Reloads: []status.Reloaded{{Source: "revocations", OK: true, At: time.Now().Add(time.Hour)}, {Source: "secrets", OK: true, At: time.Now().Add(time.Hour)}},
	}
	s.Hour.Requests = []uint64{0}
	return s
}

// proxy has the box's machine run a proxy that says so.
func (b *box) proxy(s status.Status) {
	b.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/status" || r.Host != "localhost" {
			http.NotFound(w, r)
			return
		}
		json.NewEncoder(w).Encode(s)
	}))
	b.Cleanup(server.Close)
	b.p.Proxy = strings.TrimPrefix(server.URL, "http://")
}

func TestTargets(t *testing.T) {
	b := newBox(t)
	key, id := b.mint("label=alice")
	for in, want := range map[string]string{
		"":                           "error",
		"\n \n":                      "error",
		key:                          id + "/alice",
		key + "  " + id + "\n" + id:  id + "/alice " + id + "/ " + id + "/",
		"alice":                      "=alice",
		"bob the builder\r\n" + id:   "=bob the builder " + id + "/",
		id + " the builder":          "=" + id + " the builder",
		key[:len(key)-1]:             "error",
		"x " + key[:len(key)-1]:      "=x " + key[:len(key)-1],
		strings.Repeat("a\n", 1<<20): "error",
	} {
		b.in = in
		targets, err := b.streams().readTargets([]string{"-"})
		var got []string
		for _, target := range targets {
			if target.name != "" {
				got = append(got, "="+target.name)
			} else {
				got = append(got, target.id.String()+"/"+target.label)
			}
		}
		if text := strings.Join(got, " "); err == nil && text != want || (err != nil) != (want == "error") {
			t.Errorf("%.60q: %q, %v", in, text, err)
		}
		if err != nil && strings.Contains(err.Error(), key[len(key)-20:]) {
			t.Errorf("the key is in the error: %v", err)
		}
	}
}

// What the commands have used is theirs to say, and what the proxy of this machine has
// instead.
func TestAProxyThatHasOtherThings(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	for name, row := range map[string]struct {
		change        func(*status.Status)
		secrets, list string // what is said of each; "": nothing
	}{
		"the same":                {func(*status.Status) {}, "", ""},
		"other secrets":           {func(s *status.Status) { s.SecretFingerprint = "000000000001" }, "has other secrets than ", ""},
		"another list":            {func(s *status.Status) { s.RevocationsHash = "000000000001" }, "", "another list of revoked keys than "},
		"both":                    {func(s *status.Status) { s.SecretFingerprint, s.RevocationsHash = "", "" }, "has other secrets than ", "another list of revoked keys than "},
		"a list it has not read":  {func(s *status.Status) { s.RevocationsHash, s.Reloads[0].At = "1", past }, "", ""},
		"secrets it has not read": {func(s *status.Status) { s.SecretFingerprint, s.Reloads[1].At = "1", past }, "which it has not read since they changed", ""},
		"neither is ever read":    {func(s *status.Status) { s.SecretFingerprint, s.RevocationsHash, s.Reloads = "1", "1", nil }, "has other secrets than ", "another list of revoked keys than "},
		"no status of ours":       {func(s *status.Status) { *s = status.Status{} }, "", ""},
	} {
		b := newBox(t)
		key, id := b.mint("label=alice")
		said := b.agreeing()
		row.change(&said)
		b.proxy(said)
		for command, run := range map[string]func() error{
			"mint":    func() error { return Mint(t.Context(), b.streams(), MintOptions{Places: b.p, Count: 1}) },
			"inspect": func() error { return Inspect(t.Context(), b.streams(), InspectOptions{Places: b.p, Key: key}) },
			"keys":    func() error { return Keys(t.Context(), b.streams(), KeysOptions{Places: b.p}) },
		} {
			check(t, name+": "+command, run(), b.err.String(), row.secrets, map[bool]string{true: row.list}[command != "mint"])
		}
		// It changes the list, so it comes last.
		err := Revoke(t.Context(), b.streams(), RevokeOptions{Places: b.p, Keys: []string{id}})
		check(t, name+": revoke", err, b.err.String(), "", row.list)
	}
}

func check(t *testing.T, name string, err error, said, secrets, list string) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	lines := 0
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "The proxy on ") {
			lines++
			if !strings.Contains(line, secrets) || !strings.Contains(line, list) {
				t.Errorf("%s: %q", name, line)
			}
			for _, of := range []struct{ part, wanted string }{{"secrets", secrets}, {"list", list}} {
				if of.wanted == "" && strings.Contains(line, " "+of.part+" ") {
					t.Errorf("%s: it speaks of the %s: %q", name, of.part, line)
				}
			}
		}
	}
	if want := secrets != "" || list != ""; lines > 1 || want != (lines == 1) {
		t.Errorf("%s: %d lines about the proxy: %q", name, lines, said)
	}
}

// What listens there may be anything.
func TestWhatIsNoProxyIsPassedOver(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("[", 1<<20)) }))
	defer other.Close()
	for _, address := range []string{"", silent.Addr().String(), gone.Addr().String(), strings.TrimPrefix(other.URL, "http://"), "no address", "127.0.0.1"} {
		b := newBox(t)
		b.mint()
		b.p.Proxy = address
		b.mint()
		if b.err.Len() != 0 {
			t.Errorf("%q: %q", address, b.err.String())
		}
	}
}

// Who uses sudo for serve, and not for mint, hears why there is no secret.
func TestNoSecretWhereAProxyHasOne(t *testing.T) {
	b := newBox(t)
	b.proxy(b.agreeing())
	t.Setenv("XDG_CONFIG_HOME", b.path("nobody's"))
	t.Setenv("HOME", b.path("nobody's"))
	b.p.SecretFile = ""
	err := Mint(t.Context(), b.streams(), MintOptions{Places: b.p, Count: 1})
	if err == nil || !strings.Contains(err.Error(), "the proxy on "+b.p.Proxy+" has one") {
		t.Error(err)
	}
	b.p.Proxy = ""
	if err := Mint(t.Context(), b.streams(), MintOptions{Places: b.p, Count: 1}); err == nil || !strings.Contains(err.Error(), "ollama-proxy serve") {
		t.Error(err)
	}
}
