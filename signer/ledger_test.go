package signer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

func mustNote(tb testing.TB, path, key string) LedgerEntry {
	tb.Helper()
	e, err := NewLedgerEntry(key, "mint", "0123456789ab", time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	if err := AppendLedger(path, []LedgerEntry{e}); err != nil {
		tb.Fatal(err)
	}
	return e
}

func mustReadLedger(tb testing.TB, path string, damaged int) []LedgerEntry {
	tb.Helper()
	entries, n, err := ReadLedger(path)
	if err != nil || n != damaged {
		tb.Fatalf("%d damaged lines, want %d: %v", n, damaged, err)
	}
	return entries
}

func TestALedgerSaysWhatAKeySays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "minted")
	key := mustMint(t, true, "label=alice", "exp=1893456000", "models=llama3.2,qwen3:*", "exp=1893455999", "label=eve")
	want := mustNote(t, path, key)
	got := mustReadLedger(t, path, 0)
	if len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Fatalf("%v, not %v", got, want)
	}
	e := got[0]
	p, _ := split(key)
	if e.ID != p.id.String() || e.Root() != e.ID || e.UUID() != p.id || e.Label != "alice" || !e.Admin || !e.Expires().Equal(time.Unix(1893455999, 0)) {
		t.Errorf("%+v", e)
	}
	if !slices.Contains(e.Words(), "only models: llama3.2, qwen3:*") || !strings.Contains(mustRead(t, path), `"only models: llama3.2, qwen3:*"`) {
		t.Errorf("%q", mustRead(t, path))
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := NewLedgerEntry(key[1:], "mint", "", time.Now()); err != ErrMalformed {
		t.Error(err)
	}
}

// Whoever reads a ledger can make no key of it: neither the tag of a key nor one on
// the way to it is there.
func TestALedgerHoldsNoTag(t *testing.T) {
	path := filepath.Join(t.TempDir(), "minted")
	key := mustMint(t, false)
	keys := []string{key}
	for _, c := range []string{"label=alice", "rpm=60", "models=a"} {
		caveat, value, _ := strings.Cut(c, "=")
		narrower, err := Restrict(keys[len(keys)-1], Caveat{caveat, value})
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, narrower)
	}
	for _, k := range keys {
		mustNote(t, path, k)
	}
	text := mustRead(t, path)
	for _, k := range keys {
		if tag := k[len(k)-tagLen:]; strings.Contains(text, k) || strings.Contains(text, tag) {
			t.Errorf("the ledger holds a tag: %q", text)
		}
	}
}

func TestRevokedEntries(t *testing.T) {
	a, b, c := uuid.MustParse(idA), uuid.MustParse(idB), uuid.Must(uuid.NewV7())
	whole := LedgerEntry{ID: a.String()}
	narrowed := LedgerEntry{ID: c.String(), Of: a.String(), Caveats: []string{"id=" + b.String(), "rpm=1", "id=" + c.String()}}
	for list, want := range map[string][2]bool{
		"":                             {false, false},
		a.String():                     {true, true},
		b.String():                     {false, true},
		c.String():                     {false, true},
		uuid.Max.String():              {false, false},
		"before 9999-01-01T00:00:00Z":  {true, true},
		"before 1970-01-01T00:00:01Z ": {!isV7(a), !isV7(a)},
	} {
		r := mustRevocations(t, list)
		if got := [2]bool{whole.Revoked(r), narrowed.Revoked(r)}; got != want {
			t.Errorf("%q: %v, not %v", list, got, want)
		}
	}
}

func isV7(id uuid.UUID) bool { _, ok := mintedAt(id); return ok }

// A line that a crash has cut off anywhere is no entry, and neither the entries before
// it nor those after it suffer.
func TestALedgerCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "minted")
	first, second := mustMint(t, false, "label=a"), mustMint(t, false, "label=b")
	mustNote(t, path, first)
	one := mustRead(t, path)
	mustNote(t, path, second)
	both := mustRead(t, path)
	for cut := len(one); cut <= len(both); cut++ {
		torn := filepath.Join(dir, fmt.Sprint(cut))
		if err := os.WriteFile(torn, []byte(both[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		third := mustNote(t, torn, mustMint(t, false, "label=c"))
		text := mustRead(t, torn)
		entries, damaged, err := ReadLedger(torn)
		wantDamaged := 0
		if cut > len(one) && cut < len(both)-1 {
			wantDamaged = 1
		}
		if err != nil || damaged != wantDamaged || !strings.HasPrefix(text, both[:cut]) || entries[0].Label != "a" || entries[len(entries)-1].ID != third.ID {
			t.Fatalf("cut after %d bytes: %d damaged, %v, %q", cut, damaged, err, text)
		}
		if whole := cut >= len(both)-1; whole != (len(entries) == 3) {
			t.Fatalf("cut after %d bytes: %d entries", cut, len(entries))
		}
	}
}

func TestWhatIsNoLedgerStaysAsItIs(t *testing.T) {
	dir := t.TempDir()
	e := LedgerEntry{ID: idA, Label: "a"}
	for name, text := range map[string]string{"secret": strings.Repeat("secret-", 9), "revocations": idB + " lost\n", "blank": "\n"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := AppendLedger(path, []LedgerEntry{e})
		if err == nil || !strings.Contains(err.Error(), "no ledger") || mustRead(t, path) != text || strings.Contains(err.Error(), "secret-") {
			t.Errorf("%s: %v, %q", name, err, mustRead(t, path))
		}
	}
	if err := AppendLedger(dir, []LedgerEntry{e}); err == nil {
		t.Error("a directory was appended to")
	}
	if _, _, err := ReadLedger(dir); err == nil {
		t.Error("a directory was read")
	}
	if _, _, err := ReadLedger(filepath.Join(dir, "secret")); err == nil || strings.Contains(err.Error(), "secret-") {
		t.Error(err)
	}
	if _, _, err := ReadLedger(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if entries, damaged, err := ReadLedger(filepath.Join(dir, "blank")); len(entries) != 0 || damaged != 0 || err != nil {
		t.Error(entries, damaged, err)
	}
}

func TestLinesOfALedgerThatAreNoEntry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "minted")
	good := `{"id":"` + idA + `","label":"a"}`
	for _, bad := range []string{
		"x", "{", good[:len(good)-1], `{"id":"x"}`, `{"label":"a"}`, `{"id":"` + strings.ToUpper(idA) + `","of":"x"}`, `{"id":"` + idA + `","of":"x"}`,
		`{"id":"` + idA + `","label":"` + strings.Repeat("a", maxLedgerLine) + `"}`, strings.Repeat("x", 3*maxLedgerLine), "[]", "null", `"` + idA + `"`,
	} {
		if err := os.WriteFile(path, []byte(good+"\n"+bad+"\n\n"+good), 0o600); err != nil {
			t.Fatal(err)
		}
		if entries := mustReadLedger(t, path, 1); len(entries) != 2 {
			t.Errorf("%.80q: %d entries", bad, len(entries))
		}
	}
}

func TestManyNoteAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "minted")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 10 {
				e := LedgerEntry{ID: uuid.NewString(), Label: fmt.Sprint(i, "-", j)}
				if err := AppendLedger(path, []LedgerEntry{e, e}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if entries := mustReadLedger(t, path, 0); len(entries) != 160 {
		t.Errorf("%d entries", len(entries))
	}
}

func TestTheLedgersPlace(t *testing.T) {
	for _, row := range []struct{ secret, named, want string }{
		{"/etc/x/secret", "", "/etc/x/minted"}, {"/etc/x/secret", "none", ""}, {"/etc/x/secret", "y/z", "y/z"}, {"", "", ""}, {"", "y", "y"}, {"a/minted", "", ""}, {"secret", "", "minted"},
	} {
		if got := (Found{Path: row.secret}).Ledger(row.named); got != filepath.FromSlash(row.want) {
			t.Errorf("%v: %q", row, got)
		}
	}
}

func BenchmarkReadLedger(b *testing.B) {
	path := filepath.Join(b.TempDir(), "minted")
	var entries []LedgerEntry
	for i := range 100_000 {
		e, err := NewLedgerEntry(mustMint(b, false, fmt.Sprint("label=user ", i), "exp=1893456000", "models=llama3.2,qwen3:*"), "mint", "0123456789ab", time.Now())
		if err != nil {
			b.Fatal(err)
		}
		entries = append(entries, e)
	}
	if err := AppendLedger(path, entries); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got := mustReadLedger(b, path, 0); len(got) != 100_000 {
			b.Fatal(len(got))
		}
	}
}
