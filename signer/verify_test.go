package signer

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const testSecret = "correct-horse-battery-staple-0123456789ab"

// beforeExpiry is a moment at which every valid key among the vectors holds.
var beforeExpiry = time.Unix(1_760_000_000, 0)

type vectors struct {
	Valid []struct {
		Secret, Head, Key string
		Caveats           []string
	}
	RefusedUnder string `json:"refused_under_secret"`
	Refused      []refusedVector
	Derived      []struct {
		Secret, Name, Derived, Head, Key string
		Caveats                          []string
	}
	RefusedNames []string `json:"derived_refused_names"`
	Admin        struct {
		Secret      string
		AdminSecret string `json:"admin_secret"`
		Valid       []string
		Refused     []refusedVector
	}
}

type refusedVector struct{ Why, Key string }

func readVectors(tb testing.TB) (v vectors) {
	tb.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		tb.Fatal(err)
	}
	if len(v.Valid) == 0 || len(v.Refused) == 0 || len(v.Derived) == 0 || len(v.RefusedNames) == 0 || len(v.Admin.Valid) == 0 || len(v.Admin.Refused) == 0 {
		tb.Fatal("the vectors are empty")
	}
	return v
}

func mustSecret(tb testing.TB, text string) Secret {
	tb.Helper()
	s, err := ParseSecret(text)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func mustCaveats(tb testing.TB, texts ...string) (caveats []Caveat) {
	tb.Helper()
	for _, text := range texts {
		name, value, _ := strings.Cut(text, "=")
		c, err := NewCaveat(name, value)
		if err != nil {
			tb.Fatal(err)
		}
		caveats = append(caveats, c)
	}
	return caveats
}

func mustMint(tb testing.TB, admin bool, caveats ...string) string {
	tb.Helper()
	key, err := Mint(mustSecret(tb, testSecret), admin, mustCaveats(tb, caveats...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func TestVectors(t *testing.T) {
	v := readVectors(t)
	for _, row := range v.Valid {
		secret := mustSecret(t, row.Secret)
		key, err := NewVerifier(secret).Verify(row.Key, beforeExpiry)
		if err != nil {
			t.Errorf("%s %v: %v", row.Head, row.Caveats, err)
			continue
		}
		if want := strings.HasPrefix(row.Head, adminPrefix); key.Admin != want || !strings.HasSuffix(row.Head, key.ID.String()) {
			t.Errorf("%s came out as %v, admin %v", row.Head, key.ID, key.Admin)
		}
		made, err := chain(row.Head, link(secret.text(), row.Head), mustCaveats(t, row.Caveats...))
		if err != nil || made != row.Key {
			t.Errorf("%s %v: minting it gives another key (%v)", row.Head, row.Caveats, err)
		}
	}
	verifier := NewVerifier(mustSecret(t, v.RefusedUnder))
	for _, row := range v.Refused {
		if _, err := verifier.Verify(row.Key, time.Now()); err == nil {
			t.Errorf("accepted: %s", row.Why)
		}
	}
}

func TestReasons(t *testing.T) {
	now := beforeExpiry
	mine, other := NewVerifier(mustSecret(t, testSecret)), NewVerifier(mustSecret(t, strings.ToUpper(testSecret)))
	key := mustMint(t, false)
	for _, row := range []struct {
		name     string
		verifier *Verifier
		key      string
		want     error
	}{
		{"good", mine, key, nil},
		{"another server's", other, key, ErrBadSignature},
		{"no server's", NewVerifier(), key, ErrBadSignature},
		{"no key", mine, "Bearer", ErrMalformed},
		{"not yet expired", mine, mustMint(t, false, "exp=1760000001"), nil},
		{"expires this very second", mine, mustMint(t, false, "exp=1760000000"), ErrExpired},
		{"the earliest of two counts", mine, mustMint(t, false, "exp=1", "exp=4102444800"), ErrExpired},
		{"expired, but another server's", other, mustMint(t, false, "exp=1"), ErrBadSignature},
		{"unknown caveat", mine, chained(t, key, "colour=red"), ErrMalformed},
		{"no such spelling of a number", mine, chained(t, key, "exp=0x7fffffff"), ErrMalformed},
		{"a good caveat beside an unknown one", mine, chained(t, key, "label=alice", "Label=bob"), ErrMalformed},
	} {
		if _, err := row.verifier.Verify(row.key, now); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
	}
}

// chained adds caveats to a key as any holder could, parseable or not.
func chained(tb testing.TB, key string, caveats ...string) string {
	tb.Helper()
	p, ok := split(key)
	if !ok {
		tb.Fatal("not a key")
	}
	tag, err := encoding.DecodeString(p.tag)
	if err != nil {
		tb.Fatal(err)
	}
	text := p.signed
	for _, c := range caveats {
		encoded := encoding.EncodeToString([]byte(c))
		text, tag = text+"~"+encoded, link(tag, encoded)
	}
	return text + "." + encoding.EncodeToString(tag)
}

func TestEverySubstringAndEveryChangedByteIsRefused(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	for _, key := range []string{mustMint(t, false), mustMint(t, true), mustMint(t, false, "label=alice", "exp=4102444800")} {
		if _, err := verifier.Verify(key, beforeExpiry); err != nil {
			t.Fatal(err)
		}
		for i := range len(key) {
			for j := i; j <= len(key); j++ {
				if part := key[i:j]; part != key {
					if _, err := verifier.Verify(part, beforeExpiry); err == nil {
						t.Fatalf("accepted: bytes %d to %d of a key", i, j)
					}
				}
			}
			for b := range 256 {
				if changed := key[:i] + string([]byte{byte(b)}) + key[i+1:]; changed != key {
					if _, err := verifier.Verify(changed, beforeExpiry); err == nil {
						t.Fatalf("accepted: byte %d changed to %#x", i, b)
					}
				}
			}
		}
		for i := range len(key) + 1 {
			for b := range 256 {
				if _, err := verifier.Verify(key[:i]+string([]byte{byte(b)})+key[i:], beforeExpiry); err == nil {
					t.Fatalf("accepted: byte %#x put in at %d", b, i)
				}
			}
		}
	}
}

func TestBase64AliasesAreRefused(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	key := mustMint(t, false)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

	last := strings.IndexByte(alphabet, key[len(key)-1])
	for spare := 1; spare < 4; spare++ {
		alias := key[:len(key)-1] + alphabet[last|spare:last|spare+1]
		if _, err := verifier.Verify(alias, beforeExpiry); !errors.Is(err, ErrBadSignature) {
			t.Errorf("a tag that decodes alike: %v", err)
		}
	}

	// "label=a" has 7 bytes: its last character has four spare bits.
	good := encoding.EncodeToString([]byte("label=a"))
	last = strings.IndexByte(alphabet, good[len(good)-1])
	alias := good[:len(good)-1] + alphabet[last|1:last|1+1]
	p, _ := split(key)
	tag, _ := encoding.DecodeString(p.tag)
	text := p.signed + "~" + alias + "." + encoding.EncodeToString(link(tag, alias))
	if _, err := verifier.Verify(text, beforeExpiry); !errors.Is(err, ErrMalformed) {
		t.Errorf("a caveat that decodes alike, rightly chained: %v", err)
	}
}

func TestBounds(t *testing.T) {
	verifier := NewVerifier(mustSecret(t, testSecret))
	key := mustMint(t, false)
	labels := make([]string, maxCaveats)
	for i := range labels {
		labels[i] = "label=a"
	}
	if _, err := verifier.Verify(chained(t, key, labels...), beforeExpiry); err != nil {
		t.Errorf("%d caveats: %v", maxCaveats, err)
	}
	if _, err := verifier.Verify(chained(t, key, append(labels, "label=b")...), beforeExpiry); !errors.Is(err, ErrMalformed) {
		t.Errorf("%d caveats: %v", maxCaveats+1, err)
	}

	room := maxKeyLen - len(key) - len("~")
	value := "models=" + strings.Repeat("a,", room)
	value = value[:room/4*3-1] + "a"
	for strings.Contains(value, ",,") || strings.HasSuffix(value, ",") {
		t.Fatal("the longest key is not well formed")
	}
	longest := chained(t, key, value)
	if len(longest) > maxKeyLen || len(longest) < maxKeyLen-4 {
		t.Fatalf("the longest key has %d bytes", len(longest))
	}
	if _, err := verifier.Verify(longest, beforeExpiry); err != nil {
		t.Errorf("%d bytes: %v", len(longest), err)
	}
	if _, err := verifier.Verify(chained(t, key, value+"aaaa"), beforeExpiry); !errors.Is(err, ErrMalformed) {
		t.Errorf("over %d bytes: %v", maxKeyLen, err)
	}
}

func TestRotation(t *testing.T) {
	older, newer := mustSecret(t, testSecret), mustSecret(t, strings.ToUpper(testSecret))
	key := mustMint(t, false)
	verifier := NewVerifier(newer, older)
	if _, err := verifier.Verify(key, beforeExpiry); err != nil {
		t.Errorf("the second secret does not verify: %v", err)
	}
	verifier.SetSecrets([]Secret{newer})
	if _, err := verifier.Verify(key, beforeExpiry); !errors.Is(err, ErrBadSignature) {
		t.Errorf("a dropped secret: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	v := readVectors(f)
	for _, row := range v.Valid {
		f.Add(row.Key)
	}
	for _, row := range v.Refused {
		f.Add(row.Key)
	}
	secret := mustSecret(f, testSecret)
	verifier := NewVerifier(secret)
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := split(text)
		if !ok {
			if _, err := verifier.Verify(text, beforeExpiry); !errors.Is(err, ErrMalformed) {
				t.Errorf("no shape, yet %v", err)
			}
			return
		}
		if again := p.signed + "." + p.tag; again != text || p.signed != p.head+p.caveats {
			t.Errorf("comes back as %q", again)
		}

		// The same claims, rightly signed: the caveats alone decide.
		sum := link([]byte(testSecret), p.head)
		for encoded := range p.encodedCaveats {
			sum = link(sum, encoded)
		}
		genuine := p.signed + "." + encoding.EncodeToString(sum)
		key, err := verifier.Verify(genuine, beforeExpiry)
		seen, inspectErr := Inspect(genuine)
		if (err == nil || errors.Is(err, ErrExpired)) != (inspectErr == nil) {
			t.Errorf("Verify says %v, Inspect says %v", err, inspectErr)
		}
		read, readErr := readClaims(genuine)
		if (readErr == nil) != (inspectErr == nil) {
			t.Errorf("the reference says %v, Inspect says %v", readErr, inspectErr)
		}
		if inspectErr == nil {
			sameAnswers(t, seen.Limits, read)
		}
		if err != nil {
			return
		}
		sameAnswers(t, key.Limits, read)
		made, err := chain(p.head, link([]byte(testSecret), p.head), seen.Caveats)
		if err != nil || made != genuine || key.ID != seen.ID || key.Admin != seen.Admin {
			t.Errorf("re-marshals to %q (%v)", made, err)
		}
		if text != genuine {
			if _, err := verifier.Verify(text, beforeExpiry); err == nil {
				t.Error("two tags for one key")
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	verifier := NewVerifier(mustSecret(b, testSecret))
	for _, row := range []struct{ name, key string }{
		{"plain", mustMint(b, false)},
		{"one caveat", mustMint(b, false, "label=alice")},
		{"four caveats", mustMint(b, false, "label=alice", "exp=4102444800", "models=llama3.2", "rpm=60")},
		{"sixteen caveats", mustMint(b, false, slices.Repeat([]string{"label=alice", "exp=4102444800", "models=llama3.2", "rpm=60"}, 4)...)},
		{"one id", mustMint(b, false, "id="+idA)},
		{"sixteen ids", mustMint(b, false, slices.Repeat([]string{"id=" + idA}, 16)...)},
		{"malformed", "OLLAMA-nonsense"},
	} {
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				verifier.Verify(row.key, beforeExpiry)
			}
		})
	}
}
