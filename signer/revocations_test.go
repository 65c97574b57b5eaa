package signer

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"
	"unsafe"

	"github.com/google/uuid"
)

const (
	idA = "0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60" // minted at 2025-10-08T11:42:49.184Z
	idB = "3f2504e0-4f89-41d3-9a0c-0305e82c3301" // version 4
)

func mustRevocations(tb testing.TB, text string) *Revocations {
	tb.Helper()
	r, err := ParseRevocations(strings.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestRevocationLines(t *testing.T) {
	a, b := uuid.MustParse(idA), uuid.MustParse(idB)
	minted, _ := mintedAt(a)
	stamp := minted.Format(time.RFC3339Nano)
	for _, row := range []struct {
		name, text   string
		a, b         bool
		n            int
		before       bool
		refusedAs    string
		refusedCause error
	}{
		{name: "nothing", text: ""},
		{name: "blank lines and comments", text: "\n \t\r\n# " + idA + "\n  #" + idB},
		{name: "one", text: idA, a: true, n: 1},
		{name: "one with a line's end", text: idA + "\n", a: true, n: 1},
		{name: "CRLF", text: idA + "\r\n" + idB + "\r\n", a: true, b: true, n: 2},
		{name: "indented, with text", text: "\t " + idA + "\tlost laptop; see #12 \n", a: true, n: 1},
		{name: "prefixes", text: userPrefix + idA + "\n" + adminPrefix + idB + " x", a: true, b: true, n: 2},
		{name: "twice", text: idA + "\n" + userPrefix + idA + " again\n", a: true, n: 1},
		{name: "before, the very millisecond", text: "before " + stamp, b: true, before: true},
		{name: "before, a nanosecond later", text: "before " + minted.Add(1).Format(time.RFC3339Nano), a: true, b: true, before: true},
		{name: "before, in another zone, with text", text: "before\t2025-10-08T12:42:49+01:00 rotated", b: true, before: true},
		{name: "the latest before counts", text: "before 2030-01-01T00:00:00Z\nbefore 1970-01-01T00:00:00Z", a: true, b: true, before: true},

		{name: "capitals", text: strings.ToUpper(idA), refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "braces", text: "{" + idA + "}", refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "no hyphens", text: strings.ReplaceAll(idA, "-", ""), refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "cut short", text: idA + "\n" + idB[:35], refusedAs: "line 2 ", refusedCause: errBadLine},
		{name: "text grown on", text: "\n\n" + idA + ",x", refusedAs: "line 3 ", refusedCause: errBadLine},
		{name: "two prefixes", text: userPrefix + userPrefix + idA, refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "another prefix", text: "ollama-" + idA, refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "zeros of a torn write", text: idA + "\n" + strings.Repeat("\x00", 40), refusedAs: "line 2 ", refusedCause: errBadLine},
		{name: "a byte order mark", text: "\ufeff" + idA + "\n", refusedAs: "line 1 ", refusedCause: errMark},
		{name: "a byte order mark before a comment", text: "\ufeff# ours\n" + idA + "\n", refusedAs: "line 1 ", refusedCause: errMark},
		{name: "UTF-16", text: "\xff\xfe0\x00\n\x00", refusedAs: "line 1 ", refusedCause: errMark},
		{name: "quotes", text: `"` + idA + `"`, refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "before nothing", text: "before", refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "before a date", text: "before 2026-01-02", refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "before without zone", text: "before 2026-01-02T15:04:05", refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "before no time in RFC 3339", text: "before 2026-01-02T15:04:05,5Z", refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "before time began", text: "before 0001-01-01T00:00:00Z", refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "beforehand", text: "before2026-01-02T15:04:05Z", refusedAs: "line 1 ", refusedCause: errBadLine},
		{name: "an endless line", text: idA + "\n#" + strings.Repeat("x", 1<<17), refusedAs: "line 2 ", refusedCause: errLongLine},
		{name: "a long line", text: "#" + strings.Repeat("x", maxRevocationLine), refusedAs: "line 1 ", refusedCause: errLongLine},
		{name: "the longest line", text: idA + strings.Repeat(" ", maxRevocationLine-uuidLen) + "\n", a: true, n: 1},
	} {
		r, err := ParseRevocations(strings.NewReader(row.text))
		if row.refusedCause != nil {
			if !errors.Is(err, row.refusedCause) || !strings.HasPrefix(err.Error(), row.refusedAs) || r != nil {
				t.Errorf("%s: %v, want %s%v", row.name, err, row.refusedAs, row.refusedCause)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		if r.Revoked(a) != row.a || r.Revoked(b) != row.b || r.Len() != row.n || r.Before().IsZero() == row.before {
			t.Errorf("%s: %v, %v, %d entries, before %v", row.name, r.Revoked(a), r.Revoked(b), r.Len(), r.Before())
		}
	}
}

func TestAKeyPastedIntoTheListIsNotQuoted(t *testing.T) {
	for _, key := range []string{mustMint(t, false), mustMint(t, true), mustMint(t, false, "label=alice")} {
		_, bare, _ := strings.Cut(key, "-0")
		for _, line := range []string{key, " " + key + " stolen", "0" + bare} {
			_, err := ParseRevocations(strings.NewReader("# list\n" + idA + "\n" + line + "\n"))
			if want := "line 3 holds a whole key: write only its id"; err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
		_, err := ParseRevocations(strings.NewReader("revoke " + key))
		if err == nil || strings.Contains(err.Error(), key[len(key)-tagLen:]) || strings.Contains(err.Error(), key[:20]) {
			t.Errorf("%v", err)
		}
	}
}

func TestAListThatIsTooLongOrBreaksOffIsRefused(t *testing.T) {
	text := idA + "\n" + idB + "\n"
	if _, err := parseRevocations(strings.NewReader(text), int64(len(text))); err != nil {
		t.Error(err)
	}
	if _, err := parseRevocations(strings.NewReader(text), int64(len(text))-1); err == nil {
		t.Error("one byte more than the limit was taken")
	}
	broken := errors.New("broken")
	if r, err := ParseRevocations(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))); !errors.Is(err, broken) || r != nil {
		t.Errorf("%v", err)
	}
	if r, err := ParseRevocations(iotest.OneByteReader(strings.NewReader(text))); err != nil || r.Len() != 2 {
		t.Errorf("byte by byte: %v", err)
	}
}

func TestNoListRevokesNothing(t *testing.T) {
	full := mustRevocations(t, idA+"\n"+uuid.Nil.String()+"\nbefore 2026-01-02T15:04:05Z")
	for _, r := range []*Revocations{nil, {}, mustRevocations(t, "")} {
		if r.Revoked(uuid.MustParse(idA)) || r.Revoked(uuid.Nil) || r.Len() != 0 || !r.Before().IsZero() || r.Hash() != 0 || r.Lost(nil) != 0 {
			t.Errorf("%v is not empty", r)
		}
		if r.Lost(full) != 3 || full.Lost(r) != 0 {
			t.Errorf("%d, %d", r.Lost(full), full.Lost(r))
		}
	}
}

func TestTheZeroUUIDIsAnIDLikeAnyOther(t *testing.T) {
	without, with := mustRevocations(t, idA), mustRevocations(t, idA+"\n"+uuid.Nil.String()+"\n"+uuid.Nil.String())
	if without.Revoked(uuid.Nil) || !with.Revoked(uuid.Nil) || with.Len() != 2 || with.Hash() == without.Hash() {
		t.Errorf("%v, %v, %d", without.Revoked(uuid.Nil), with.Revoked(uuid.Nil), with.Len())
	}
	if without.Lost(with) != 1 || with.Lost(without) != 0 {
		t.Errorf("%d, %d", without.Lost(with), with.Lost(without))
	}
}

func TestHash(t *testing.T) {
	base := mustRevocations(t, idA+"\n"+idB+"\nbefore 2026-01-02T15:04:05Z")
	for _, same := range []string{
		idB + "\n" + idA + "\nbefore 2026-01-02T15:04:05Z",
		"# c\nbefore 2026-01-02T16:04:05+01:00\nbefore 2025-01-01T00:00:00Z\n" + idA + " x\n" + userPrefix + idA + "\n" + adminPrefix + idB,
	} {
		if got := mustRevocations(t, same).Hash(); got != base.Hash() {
			t.Errorf("%q: %x, want %x", same, got, base.Hash())
		}
	}
	seen := map[uint64]string{base.Hash(): "base"}
	for _, other := range []string{"", idA, idB, idA + "\n" + idB, "before 2026-01-02T15:04:05Z", "before 2026-01-02T15:04:05.000000001Z", idA + "\nbefore 2026-01-02T15:04:05Z", uuid.Nil.String()} {
		h := mustRevocations(t, other).Hash()
		if was, ok := seen[h]; ok || h>>48 != 0 || uint64(float64(h)) != h {
			t.Errorf("%q has the hash %x, as has %q", other, h, was)
		}
		seen[h] = other
	}
	if h := mustRevocations(t, "# nothing").Hash(); h != 0 {
		t.Errorf("the empty list has %x", h)
	}
	// Replicas of different versions must agree, so this may not change.
	if base.Hash() != 0x9789123a2028 {
		t.Errorf("the hash of one list became %#x", base.Hash())
	}
}

// Ids need not be random: whoever mints may count. No pattern may make lookups
// slow or the table big.
func TestTheTableStaysFlatAndSmall(t *testing.T) {
	const n = 50_000
	for name, id := range map[string]func(i uint64) (hi, lo uint64){
		"counted at the end":   func(i uint64) (uint64, uint64) { return 0x0199c3a18f607d4e, 0x9c55000000000000 | i },
		"counted at the start": func(i uint64) (uint64, uint64) { return i, 0 },
		"counted in steps":     func(i uint64) (uint64, uint64) { return 0, i << 32 },
		"both halves alike":    func(i uint64) (uint64, uint64) { return i, i },
		"random":               func(i uint64) (uint64, uint64) { return scramble(i), scramble(^i) },
		"version 7":            func(i uint64) (uint64, uint64) { return (1_759_935_968_224+i/8)<<16 | 0x7000 | i&7, scramble(i) },
	} {
		var c collection
		var ids [n]uuid.UUID
		for i := range ids {
			hi, lo := id(uint64(i))
			binary.BigEndian.PutUint64(ids[i][:8], hi)
			binary.BigEndian.PutUint64(ids[i][8:], lo)
			c.add(ids[i])
		}
		r := c.table()
		if r.Len() != n || cap(r.lines)*int(unsafe.Sizeof(line{})) > 24*n {
			t.Errorf("%s: %d entries in %d lines", name, r.Len(), cap(r.lines))
		}
		misplaced := 0
		for _, id := range ids {
			w := wordsOf(id)
			if !r.has(w) {
				t.Fatalf("%s: %v is not found", name, id)
			}
			if w != (words{}) && !slices.Contains(r.lines[r.home(w)][:], w) {
				misplaced++
			}
		}
		// One in ten, if mix is as good as chance.
		if misplaced > n/7 {
			t.Errorf("%s: %d of %d are not in their line", name, misplaced, n)
		}
	}
}

func TestRevokedKeysAreRefusedWhateverWasMadeOfThem(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	root, other := mustMint(t, false), mustMint(t, true)
	narrow := chained(t, root, "label=alice", "exp=4102444800")
	expired := chained(t, root, "exp=1")
	id, err := ParseID(root)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, want error) {
		t.Helper()
		for _, key := range []string{root, narrow} {
			if key, err := verifier.Verify(key, beforeExpiry); !errors.Is(err, want) || err != nil && key != (Key{}) {
				t.Errorf("%s: %v, want %v", when, err, want)
			}
		}
		if _, err := verifier.Verify(expired, beforeExpiry); !errors.Is(err, ErrExpired) {
			t.Errorf("%s: %v comes before %v", when, err, ErrExpired)
		}
		if _, err := NewVerifier().Verify(root, beforeExpiry); !errors.Is(err, ErrBadSignature) {
			t.Errorf("%s: %v", when, err)
		}
	}
	check("no list", nil)
	verifier.SetRevocations(mustRevocations(t, idA))
	check("others listed", nil)
	verifier.SetRevocations(mustRevocations(t, id.String()))
	check("listed", ErrRevoked)
	if _, err := verifier.Verify(other, beforeExpiry); err != nil {
		t.Errorf("another key: %v", err)
	}
	verifier.SetRevocations(mustRevocations(t, "before "+time.Now().Add(time.Hour).Format(time.RFC3339)))
	check("before", ErrRevoked)
	verifier.SetRevocations(nil)
	check("the list is gone", nil)
}

// oracle reads a list anew, with other means.
type oracle struct {
	ids    map[string]bool
	before time.Time
}

var (
	oracleID     = regexp.MustCompile(`^(?:OLLAMA-(?:ADMIN-)?)?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:[ \t\v\f\r]|$)`)
	oracleBefore = regexp.MustCompile(`^before[ \t\v\f\r]+(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d))(?:[ \t\v\f\r]|$)`)
)

func readOracle(text string) (oracle, bool) {
	o := oracle{ids: map[string]bool{}}
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) > 4096 {
			return o, false
		}
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		if m := oracleID.FindStringSubmatch(line); m != nil {
			o.ids[m[1]] = true
		} else if m := oracleBefore.FindStringSubmatch(line); m != nil {
			at, err := time.Parse(time.RFC3339, m[1])
			if err != nil || at.Before(time.Unix(0, 0)) {
				return o, false
			}
			if at.After(o.before) {
				o.before = at
			}
		} else {
			return o, false
		}
	}
	return o, true
}

func (o oracle) lost(older oracle) (n int) {
	for id := range older.ids {
		if !o.ids[id] {
			n++
		}
	}
	if older.before.After(o.before) {
		n++
	}
	return n
}

func (o oracle) String() string {
	var text strings.Builder
	for id := range o.ids {
		fmt.Fprintln(&text, id)
	}
	if !o.before.IsZero() {
		fmt.Fprintln(&text, "before", o.before.Format(time.RFC3339Nano))
	}
	return text.String()
}

func FuzzParseRevocations(f *testing.F) {
	for _, seed := range []string{
		"", idA, idA + "\n" + idB, "# c\r\n\tOLLAMA-" + idA + " text\r\n", "OLLAMA-ADMIN-" + idB + "\nbefore 2026-01-02T15:04:05.5+01:00 x",
		uuid.Nil.String(), "before 1970-01-01T00:00:00Z", "before 2026-02-30T00:00:00Z", idA + ".tag", idA + "~", "before 2026-01-02T15:04:60Z",
		"before 2026-01-02T15:04:05+24:00", "before 2026-01-02T24:00:00Z", "before 9999-12-31T23:59:59-23:59", "\u00a0" + idA + "\u0085", "\xef\xbb\xbf" + idA,
	} {
		f.Add(seed, idA)
		f.Add(seed, seed+"\n"+idB)
	}
	f.Fuzz(func(t *testing.T, text, olderText string) {
		r, err := ParseRevocations(strings.NewReader(text))
		o, ok := readOracle(text)
		if ok != (err == nil) {
			t.Fatalf("%v, but the oracle says %v", err, ok)
		}
		if !ok {
			return
		}
		if r.Len() != len(o.ids) || !r.Before().Equal(o.before) {
			t.Errorf("%d entries, before %v; want %d, %v", r.Len(), r.Before(), len(o.ids), o.before)
		}
		for id := range o.ids {
			if !r.Revoked(uuid.MustParse(id)) {
				t.Errorf("%v is not revoked", id)
			}
		}
		again := mustRevocations(t, o.String())
		if again.Hash() != r.Hash() || again.Lost(r) != 0 || r.Lost(again) != 0 || r.Lost(r) != 0 {
			t.Error("the same list, written anew, is another")
		}
		older, ok := readOracle(olderText)
		if !ok {
			return
		}
		olderList := mustRevocations(t, olderText)
		if got, want := r.Lost(olderList), o.lost(older); got != want {
			t.Errorf("lost %d, want %d", got, want)
		}
		if got, want := olderList.Lost(r), older.lost(o); got != want {
			t.Errorf("lost the other way %d, want %d", got, want)
		}
		for id := range older.ids {
			id := uuid.MustParse(id)
			minted, timed := mintedAt(id)
			want := o.ids[id.String()] || !o.before.IsZero() && (!timed || minted.Before(o.before))
			if r.Revoked(id) != want {
				t.Errorf("%v: revoked %v, want %v", id, r.Revoked(id), want)
			}
		}
	})
}

// listText writes a list of n ids, and never holds more than a line of it.
type listText struct {
	random *rand.Rand
	left   int
	minted uint64
	line   []byte // what is left of the current one
	buffer [uuidLen + 1]byte
	sample []uuid.UUID // every id, up to its capacity, spread over the list
	every  int
	spent  time.Duration
}

func newListText(n, sample int) *listText {
	l := &listText{random: rand.New(rand.NewPCG(1, 2)), left: n, minted: 1_759_935_968_224, every: 1}
	if sample > 0 {
		l.sample = make([]uuid.UUID, 0, min(n, sample))
		l.every = max(1, n/sample)
	}
	return l
}

func (l *listText) next() (id uuid.UUID) {
	l.minted += l.random.Uint64() & 7
	binary.BigEndian.PutUint64(id[:], l.minted<<16|l.random.Uint64()&0xfff|0x7000)
	binary.BigEndian.PutUint64(id[8:], l.random.Uint64()&^(3<<62)|2<<62)
	return id
}

func (l *listText) Read(p []byte) (int, error) {
	start := time.Now()
	defer func() { l.spent += time.Since(start) }()
	n := 0
	for n < len(p) {
		if len(l.line) == 0 {
			if l.left == 0 {
				break
			}
			id := l.next()
			if l.left--; l.left%l.every == 0 && len(l.sample) < cap(l.sample) {
				l.sample = append(l.sample, id)
			}
			l.line = appendLine(l.buffer[:0], id)
		}
		copied := copy(p[n:], l.line)
		l.line = l.line[copied:]
		n += copied
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func appendLine(line []byte, id uuid.UUID) []byte {
	line = hex.AppendEncode(line, id[:4])
	for _, part := range [][]byte{id[4:6], id[6:8], id[8:10], id[10:]} {
		line = hex.AppendEncode(append(line, '-'), part)
	}
	return append(line, '\n')
}

// bigList is loaded once for all benchmarks that look things up in it.
type bigList struct {
	revocations *Revocations
	hits        []uuid.UUID
	load        time.Duration
	perEntry    float64
}

func loadList(n int) *bigList {
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	text := newListText(n, 1<<20)
	before, start := heap(), time.Now()
	r, err := ParseRevocations(text)
	if err != nil {
		panic(err)
	}
	load := time.Since(start) - text.spent
	perEntry := float64(int64(heap())-int64(before)) / float64(max(1, n))
	runtime.KeepAlive(r)
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(text.sample), func(i, j int) {
		text.sample[i], text.sample[j] = text.sample[j], text.sample[i]
	})
	return &bigList{r, text.sample, load, perEntry}
}

var lists = map[string]func() *bigList{
	"0":   sync.OnceValue(func() *bigList { return loadList(0) }),
	"1k":  sync.OnceValue(func() *bigList { return loadList(1_000) }),
	"1M":  sync.OnceValue(func() *bigList { return loadList(1_000_000) }),
	"10M": sync.OnceValue(func() *bigList { return loadList(10_000_000) }),
}

func BenchmarkRevoked(b *testing.B) {
	other := newListText(0, 0)
	other.random = rand.New(rand.NewPCG(5, 6))
	misses := make([]uuid.UUID, 1<<20)
	for i := range misses {
		misses[i] = other.next()
	}
	for _, size := range []string{"0", "1k", "1M", "10M"} {
		for _, row := range []string{"hit", "miss"} {
			if size == "0" && row == "hit" {
				continue
			}
			b.Run(size+"/"+row, func(b *testing.B) {
				list := lists[size]()
				ids := misses
				if row == "hit" {
					ids = list.hits
				}
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					if list.revocations.Revoked(ids[i]) != (row == "hit") {
						b.Fatal("wrong")
					}
					if i++; i == len(ids) {
						i = 0
					}
				}
				if list.revocations.Len() >= 1_000_000 {
					b.ReportMetric(list.perEntry, "bytes/entry")
					b.ReportMetric(list.load.Seconds(), "load-s")
				}
			})
		}
	}
}

func BenchmarkParseRevocations(b *testing.B) {
	const n = 100_000
	text, err := io.ReadAll(newListText(n, 0))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := ParseRevocations(bytes.NewReader(text))
		if err != nil || r.Len() != n {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/line")
}

func BenchmarkLost(b *testing.B) {
	list := lists["1M"]().revocations
	for b.Loop() {
		if list.Lost(list) != 0 {
			b.Fatal("wrong")
		}
	}
}
