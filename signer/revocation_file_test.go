package signer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestParseID(t *testing.T) {
	id := uuid.MustParse(idA)
	key := mustMint(t, true, "label=alice")
	p, _ := split(key)
	for text, want := range map[string]uuid.UUID{
		idA: id, userPrefix + idA: id, adminPrefix + idA: id, " " + idA + "\n": id, key: p.id, uuid.Nil.String(): {},
	} {
		if got, err := ParseID(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "alice", strings.ToUpper(idA), "{" + idA + "}", idA[1:], idA + " " + idB, key[:len(key)-1], key + "x", userPrefix + userPrefix + idA} {
		if _, err := ParseID(text); err == nil || strings.Contains(err.Error(), text) && text != "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func mustAppend(tb testing.TB, path string, ids []uuid.UUID, reason string, before time.Time, want int) {
	tb.Helper()
	if added, err := AppendRevocations(path, Additions{IDs: ids, Reason: reason, Before: before, Create: true}); err != nil || added != want {
		tb.Fatalf("added %d, want %d: %v", added, want, err)
	}
}

func mustRead(tb testing.TB, path string) string {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

func TestAppendingTwiceChangesNothing(t *testing.T) {
	a, b := uuid.MustParse(idA), uuid.MustParse(idB)
	before := time.Date(2026, 1, 2, 16, 4, 5, 678, time.FixedZone("", 3600))
	for name, start := range map[string]string{
		"no file":               "",
		"no last newline":       "# mine\n" + uuid.Max.String() + " by hand",
		"an unfinished comment": "#" + idA + " x\n#" + idB[:20],
		"CRLF":                  uuid.Max.String() + "\r\n",
	} {
		path := filepath.Join(t.TempDir(), "revocations")
		if start != "" {
			if err := os.WriteFile(path, []byte(start), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		mustAppend(t, path, []uuid.UUID{a, b, a}, "  lost laptop ", before, 3)
		first := mustRead(t, path)
		if !strings.HasPrefix(first, start) || !strings.HasSuffix(first, "\n "+idA+" lost laptop\n "+idB+" lost laptop\n before 2026-01-02T15:04:05.000000678Z lost laptop\n") && start != "" {
			t.Errorf("%s: %q", name, first)
		}
		list := mustRevocations(t, first)
		if list.Lost(mustRevocations(t, start)) != 0 || !list.Revoked(a) || !list.Revoked(b) || !list.Before().Equal(before) {
			t.Errorf("%s: %q", name, first)
		}
		mustAppend(t, path, []uuid.UUID{b, a}, "again", before, 0)
		mustAppend(t, path, nil, "", before.Add(-1), 0)
		mustAppend(t, path, nil, "", time.Time{}, 0)
		if second := mustRead(t, path); second != first {
			t.Errorf("%s: it became %q", name, second)
		}
		mustAppend(t, path, []uuid.UUID{a, uuid.Nil}, "", before.Add(1), 2)
		if second := mustRead(t, path); !strings.HasPrefix(second, first) || !mustRevocations(t, second).Revoked(uuid.Nil) {
			t.Errorf("%s: it became %q", name, second)
		}
	}
}

func TestAppendingMakesAFileThatAllMayRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "revocations")
	mustAppend(t, path, nil, "", time.Time{}, 0)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing to add, and there is a file: %v", err)
	}
	if err := os.Symlink("target", path); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, path, []uuid.UUID{uuid.MustParse(idA)}, "", time.Time{}, 1)
	info, err := os.Stat(filepath.Join(dir, "target"))
	if err != nil || info.Mode().Perm()&0o644&^0o077 != 0o600 || info.Mode().Perm()&0o133 != 0 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestAppendingWhatCannotBe(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", idB)
	fifo := filepath.Join(dir, "fifo")
	content := func(path string) string {
		if path == fifo {
			return ""
		}
		data, _ := os.ReadFile(path)
		return string(data)
	}
	ids := []uuid.UUID{uuid.MustParse(idA)}
	for _, row := range []struct {
		name, path, reason string
		before             time.Time
		want               string
	}{
		{"a directory", dir, "", time.Time{}, "revocation file: "},
		{"no directory", filepath.Join(dir, "no", "file"), "", time.Time{}, "revocation file: "},
		{"under a file", filepath.Join(plain, "file"), "", time.Time{}, "revocation file: "},
		{"a FIFO", fifo, "", time.Time{}, "not a regular file"},
		{"a bad list", write("bad", idB+"\nnonsense"), "", time.Time{}, "line 2 is neither"},
		{"a list with a key", write("key", mustMint(t, false)), "", time.Time{}, "line 1 holds a whole key: write only its id: nothing was added"},
		{"a URL", "https://user:password@example.com/", "", time.Time{}, "is at a URL"},
		{"two lines of reason", good, "a\nb", time.Time{}, "the reason"},
		{"a carriage return", good, "a\rb", time.Time{}, "the reason"},
		{"an escape", good, "a\x1b[31mb", time.Time{}, "the reason"},
		{"a line separator", good, "a\u2028b", time.Time{}, "the reason"},
		{"no UTF-8", good, "a\xff", time.Time{}, "the reason"},
		{"a long reason", good, strings.Repeat("a", maxReason+1), time.Time{}, "the reason"},
		{"before 1970", good, "", time.Unix(-1, 0), "within 1970"},
		{"after 9999", good, "", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), "within 1970"},
	} {
		if row.path == fifo && exec.Command("mkfifo", fifo).Run() != nil {
			continue
		}
		was := content(row.path)
		added, err := AppendRevocations(row.path, Additions{IDs: ids, Reason: row.reason, Before: row.before, Create: true})
		if added != 0 || err == nil || !strings.Contains(err.Error(), row.want) || strings.ContainsAny(err.Error(), "\n\x1b") || strings.Contains(err.Error(), "password") {
			t.Errorf("%s: %d, %v", row.name, added, err)
		}
		if is := content(row.path); is != was {
			t.Errorf("%s: it became %q", row.name, is)
		}
	}
	if _, err := os.Stat(good); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused line made a file: %v", err)
	}
	mustAppend(t, good, ids, strings.Repeat("é", maxReason/2), time.Time{}, 1)
	mustRevocations(t, mustRead(t, good))
}

// disk is a file of which the first bytes get written and then none.
type disk struct {
	data   []byte
	left   int
	writes []string // every write that was asked for, and "sync"
}

var errCut = errors.New("cut")

func (d *disk) WriteAt(p []byte, at int64) (int, error) {
	d.writes = append(d.writes, string(p))
	n := min(len(p), d.left)
	d.left -= n
	if grown := int(at) + n; grown > len(d.data) {
		d.data = append(d.data, make([]byte, grown-len(d.data))...)
	}
	copy(d.data[at:], p[:n])
	if n < len(p) {
		return n, errCut
	}
	return n, nil
}

func (d *disk) Sync() error {
	d.writes = append(d.writes, "sync")
	return nil
}

func (d *disk) add(list *Revocations, ids []uuid.UUID, before time.Time) error {
	lines := missingLines(list, Additions{IDs: ids, Reason: "lost laptop", Before: before})
	if len(lines) == 0 {
		return nil
	}
	lead := ""
	if len(d.data) > 0 && d.data[len(d.data)-1] != '\n' {
		lead = "\n"
	}
	return appendLines(d, int64(len(d.data)), lead, lines)
}

func TestACutAnywhereLeavesEveryEarlierLine(t *testing.T) {
	ids := []uuid.UUID{uuid.MustParse(idA), uuid.MustParse(idB), uuid.Nil}
	before := time.Unix(1_760_000_000, 5)
	cuts := 0
	for _, start := range []string{"", uuid.Max.String() + "\n", "before 2001-01-01T00:00:00Z\n" + uuid.Max.String() + " no newline", "#" + idA[:7]} {
		old := mustRevocations(t, start)
		for cut, whole := 0, false; !whole; cut++ {
			d := &disk{data: []byte(start), left: cut}
			err := d.add(old, ids, before)
			whole = err == nil
			if err != nil && err != errCut {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(d.data), start) {
				t.Fatalf("cut after %d bytes, what was there became %q", cut, d.data)
			}
			list := mustRevocations(t, string(d.data))
			if list.Lost(old) != 0 {
				t.Fatalf("cut after %d bytes, %d lines are lost", cut, list.Lost(old))
			}
			if whole != (list.Lost(mustRevocations(t, idA+"\n"+idB+"\n"+uuid.Nil.String()+"\nbefore "+before.UTC().Format(time.RFC3339Nano))) == 0) {
				t.Fatalf("cut after %d bytes: %v, but %q", cut, err, d.data)
			}
			// Nobody but us writes here, so what counts and was not there is ours.
			if list.Len() > old.Len()+len(ids) {
				t.Fatalf("cut after %d bytes, more counts than was asked for: %q", cut, d.data)
			}

			rest := string(d.data)
			d.left = 1 << 20
			if err := d.add(list, ids, before); err != nil {
				t.Fatal(err)
			}
			list = mustRevocations(t, string(d.data))
			if !strings.HasPrefix(string(d.data), rest) || list.Len() != old.Len()+len(ids) || !list.Before().Equal(before) {
				t.Fatalf("cut after %d bytes and done again: %q", cut, d.data)
			}
			cuts++
		}
	}
	if cuts < 4*100 {
		t.Errorf("only %d cuts", cuts)
	}
}

// What was not synced may reach the disk in any order or not at all.
func TestNoLineCountsBeforeAllAreOnDisk(t *testing.T) {
	d := &disk{left: 1 << 20}
	if err := d.add(nil, []uuid.UUID{uuid.MustParse(idA), uuid.MustParse(idB)}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if len(d.writes) != 5 || mustRevocations(t, d.writes[0]).Len() != 0 {
		t.Fatalf("%q", d.writes)
	}
	if got := strings.Join(d.writes[1:], "|"); got != "sync| | |sync" {
		t.Errorf("%q", got)
	}
}

func randomIDs(n int, seed uint64) []uuid.UUID {
	text := newListText(0, 0)
	text.random = rand.New(rand.NewPCG(seed, 9))
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = text.next()
	}
	return ids
}

const (
	writers        = 4
	idsEach        = 8
	writerVariable = "SIGNER_TEST_WRITER"
	pathVariable   = "SIGNER_TEST_PATH"
)

// appendOneByOne is what each of several writers does: its own ids, and one
// that all of them add.
func appendOneByOne(path string, seed uint64) error {
	for _, id := range randomIDs(idsEach, seed) {
		if _, err := AppendRevocations(path, Additions{IDs: []uuid.UUID{id, uuid.Max}, Reason: fmt.Sprint("writer ", seed), Create: true}); err != nil {
			return err
		}
	}
	return nil
}

func checkAllAreThere(t *testing.T, path string) {
	t.Helper()
	text := mustRead(t, path)
	list := mustRevocations(t, text)
	for seed := range uint64(writers) {
		for _, id := range randomIDs(idsEach, seed) {
			if !list.Revoked(id) {
				t.Errorf("%v is lost", id)
			}
		}
	}
	if lines := strings.Count(text, "\n"); list.Len() != writers*idsEach+1 || lines != list.Len() {
		t.Errorf("%d entries in %d lines", list.Len(), lines)
	}
}

func TestTwoAtOnceLoseNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revocations")
	var wg sync.WaitGroup
	for seed := range uint64(writers) {
		wg.Go(func() {
			if err := appendOneByOne(path, seed); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	checkAllAreThere(t, path)
}

func TestTwoProcessesAtOnceLoseNothing(t *testing.T) {
	if seed := os.Getenv(writerVariable); seed != "" {
		var n uint64
		fmt.Sscan(seed, &n)
		if err := appendOneByOne(os.Getenv(pathVariable), n); err != nil {
			t.Fatal(err)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "revocations")
	var wg sync.WaitGroup
	for seed := range writers {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestTwoProcessesAtOnceLoseNothing$")
			cmd.Env = append(os.Environ(), fmt.Sprint(writerVariable, "=", seed), pathVariable+"="+path)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	checkAllAreThere(t, path)
}

// An editor or a deployment puts a new file in the place of the old one; what
// is added meanwhile must be in the one that stays.
func TestAFileThatIsReplacedMeanwhileIsOpenedAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revocations")
	mustAppend(t, path, randomIDs(1, 1), "", time.Time{}, 1)
	old, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	unlock, err := lockFile(old)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := AppendRevocations(path, Additions{IDs: []uuid.UUID{uuid.MustParse(idA)}})
		done <- err
	}()
	if err := os.WriteFile(path+".new", []byte(idB+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if _, err := sizeAt(path, old); err != errReplaced {
		t.Errorf("%v, want %v", err, errReplaced)
	}
	unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if list := mustRevocations(t, mustRead(t, path)); list.Len() != 2 || !list.Revoked(uuid.MustParse(idA)) {
		t.Errorf("%q", mustRead(t, path))
	}
}

// A line says when it was added, of whom, and why; who reads the list by machine sees
// the id alone.
func TestWhatIsNotedOnALine(t *testing.T) {
	a, b := uuid.MustParse(idA), uuid.MustParse(idB)
	when := time.Date(2026, 1, 2, 16, 4, 5, 678, time.FixedZone("", 3600))
	for want, add := range map[string]Additions{
		" " + idA + "\n":                                  {},
		" " + idA + " lost\n":                             {Reason: "lost"},
		" " + idA + " alice\n":                            {Labels: map[uuid.UUID]string{a: "alice", b: "bob"}},
		" " + idA + " 2026-01-02T15:04:05Z\n":             {When: when},
		" " + idA + " 2026-01-02T15:04:05Z alice: lost\n": {When: when, Labels: map[uuid.UUID]string{a: "alice"}, Reason: "lost"},
		" " + idA + " lost \n":                            {Labels: map[uuid.UUID]string{a: "eve\n" + idB}, Reason: "lost "},
	} {
		path := filepath.Join(t.TempDir(), "revocations")
		add.IDs, add.Create = []uuid.UUID{a}, true
		want = strings.ReplaceAll(want, "lost \n", "lost\n")
		if added, err := AppendRevocations(path, add); added != 1 || err != nil || mustRead(t, path) != want {
			t.Errorf("%d, %v: %q, not %q", added, err, mustRead(t, path), want)
		}
	}
	path := filepath.Join(t.TempDir(), "revocations")
	add := Additions{Before: when, When: when, Reason: "leak", Labels: map[uuid.UUID]string{uuid.Nil: "nobody"}, Create: true}
	if _, err := AppendRevocations(path, add); err != nil || mustRead(t, path) != " before 2026-01-02T15:04:05.000000678Z 2026-01-02T15:04:05Z leak\n" {
		t.Errorf("%v: %q", err, mustRead(t, path))
	}
	mustRevocations(t, mustRead(t, path))
}

// A list that nobody made is one that nobody reads.
func TestAppendingMakesNoListUnasked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revocations")
	if added, err := AppendRevocations(path, Additions{IDs: []uuid.UUID{uuid.MustParse(idA)}}); added != 0 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%d, %v", added, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is one now: %v", err)
	}
}
