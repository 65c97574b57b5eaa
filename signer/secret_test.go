package signer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestASecretCannotBePrinted(t *testing.T) {
	s := mustSecret(t, testSecret)
	type holder struct {
		Public  Secret
		private Secret
		pointer *Secret
		list    []Secret
	}
	h := holder{s, s, &s, []Secret{s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%c", "%U", "%t", "%e", "%p", "%T", "%10.3s"} {
		for _, v := range []any{s, &s, h, &h, []Secret{s}, map[string]Secret{"a": s}, NewVerifier(s)} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, v := range []any{s, &s, h, &h, map[string]Secret{"a": s}} {
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Error(err)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
	}
	printed := strings.ToLower(out.String())
	decimal := strings.Trim(fmt.Sprint([]byte(testSecret)), "[]")
	for _, leak := range []string{testSecret, testSecret[:6], fmt.Sprintf("%x", testSecret[:6]), decimal[:20]} {
		if strings.Contains(printed, leak) {
			t.Errorf("%q came out", leak)
		}
	}
	if !strings.Contains(printed, unprintable) {
		t.Error("nothing stands in the secret's place")
	}
}

func TestParseSecrets(t *testing.T) {
	first, second := testSecret, strings.ToUpper(testSecret)
	for _, row := range []struct {
		name, text, err string
		n               int
	}{
		{"one of before there was a prefix", first, "", 1},
		{"trimmed", "\t " + first + " \r\n", "", 1},
		{"two, with comments", "# newest first\n" + first + "\n\n" + second + "\n", "", 2},
		{"empty", "", "no secret in it", 0},
		{"comments only", "# nothing\n", "no secret in it", 0},
		{"short", "# old\n0123456789abcdef0123456789abcde", "line 2: the secret has 31 bytes, at least 32 are needed", 0},
		{"a bad line after a good one", first + "\nshort", "line 2: ", 0},
		{"placeholder", "please-change-me-please-change-me-please", "line 1: the secret is a placeholder", 0},
		{"one character", strings.Repeat("a", 40), "line 1: the secret is a placeholder", 0},
		{"one that is made here after it", first + "\n" + SecretPrefix + "kLx0Zr3v9m0yQ7Qk1s1ZC5oD8cQ0p1l2m3n4o5p6q7r", "", 2},
		{"the beginning and too little", SecretPrefix + "kLx0Zr3v9m0yQ7Qk1s1ZC5oD8cQ0p1l", "line 1: the secret has 31 bytes after " + SecretPrefix + ", at least 32 are needed", 0},
		{"the beginning and just enough after it", first + "\n" + SecretPrefix + "kLx0Zr3v9m0yQ7Qk1s1ZC5oD8cQ0p1l2", "", 2},
		{"the beginning alone", SecretPrefix, "line 1: the secret has 0 bytes after", 0},
		{"the beginning and one character", SecretPrefix + strings.Repeat("a", 43), "line 1: the secret is a placeholder", 0},
		{"the beginning and a placeholder", SecretPrefix + "replace-me-with-what-ollama-proxy-secret-prints", "line 1: the secret is a placeholder", 0},
		{"control character", first + "\x00", "line 1: the secret holds control characters", 0},
		{"CRLF", "# newest first\r\n" + first + "\r\n\r\n" + second + "\r\n", "", 2},
		{"no end of the last line", first + "\n" + second, "", 2},
		{"a byte order mark", "\ufeff" + first + "\n", "line 1: the secret holds invisible characters", 0},
		{"a byte order mark before a comment", "\ufeff# newest first\n" + first + "\n", "line 1: the secret", 0},
		{"a byte order mark within", first + "\n\ufeff" + second + "\n", "line 2: the secret holds invisible characters", 0},
		{"a space without width", first + "\u200b", "line 1: the secret holds invisible characters", 0},
		{"UTF-16", "\xff\xfe" + strings.Join(strings.Split(first, ""), "\x00") + "\x00", "it is UTF-16: save it as UTF-8", 0},
		{"UTF-16 of the other order", "\xfe\xff\x00" + strings.Join(strings.Split(first, ""), "\x00"), "it is UTF-16", 0},
		{"UTF-16 without a mark", strings.Join(strings.Split(first, ""), "\x00"), "line 1: the secret holds control characters", 0},
		{"quotes", `"` + first + `"`, "line 1: the secret stands in quotes", 0},
		{"single quotes", first + "\n'" + second + "'", "line 2: the secret stands in quotes", 0},
		{"a quote that is left over", first + `"`, "line 1: the secret stands in quotes", 0},
		{"a quote within", first[:20] + `"` + first[20:] + "\n", "", 1},
		{"sixteen", "# the most\n" + first + "\n" + manySecrets(15), "", 16},
		{"seventeen", "# newest first\n" + first + "\n\n" + manySecrets(16), "line 19: more than 16 secrets", 0},
		{"many, the 17th being none", first + "\n" + manySecrets(15) + "short\n", "line 17: the secret has 5 bytes", 0},
		{"as many as fit", first + "\n" + manySecrets(1000), "line 17: more than 16 secrets", 0},
		{"a huge file", strings.Repeat("#\n", maxSecretFile), "more than 65536 bytes", 0},
	} {
		secrets, err := ParseSecrets(strings.NewReader(row.text))
		if len(secrets) != row.n || (err == nil) != (row.err == "") {
			t.Errorf("%s: %d secrets, %v", row.name, len(secrets), err)
			continue
		}
		if err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %v", row.name, err)
		}
		if row.n > 0 && row.name != "a quote within" && !secrets[0].Equal(mustSecret(t, first)) {
			t.Errorf("%s: the first line does not come first", row.name)
		}
	}
}

// manySecrets gives so many lines with secrets.
func manySecrets(n int) string {
	var lines strings.Builder
	for range n {
		_, text := NewSecret()
		lines.WriteString(text + "\n")
	}
	return lines.String()
}

// A reload that would put too many secrets in force leaves those that are.
func TestTooManySecretsAtAReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	made, err := CreateSecretFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := Mint(made, false)
	if err != nil {
		t.Fatal(err)
	}
	found, err := FindSecrets(path)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := OpenKeyring(t.Context(), found, "")
	if err != nil {
		t.Fatal(err)
	}
	before := keys.SecretFingerprint()
	if err := os.WriteFile(path, []byte(manySecrets(maxSecrets+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	changed, err := keys.ReloadSecrets(t.Context(), true)
	if changed || err == nil || !strings.Contains(err.Error(), path+": line 17: ") {
		t.Errorf("changed %t, %v", changed, err)
	}
	if _, err := keys.Verify(key, beforeExpiry); err != nil || keys.SecretFingerprint() != before {
		t.Errorf("the secret that was in force: %v", err)
	}
}

// The environment holds one secret, not a file of them.
func TestTheEnvironmentHoldsOneSecret(t *testing.T) {
	t.Setenv(SecretVariable, manySecrets(1))
	if found, err := FindSecrets(""); err != nil || len(found.Secrets) != 1 {
		t.Errorf("%d secrets, %v", len(found.Secrets), err)
	}
	for _, n := range []int{2, maxSecrets + 1} {
		t.Setenv(SecretVariable, manySecrets(n))
		if _, err := FindSecrets(""); err == nil || !strings.HasPrefix(err.Error(), SecretVariable+": ") {
			t.Errorf("%d secrets: %v", n, err)
		}
	}
}

func TestErrorsDoNotShowTheSecret(t *testing.T) {
	for _, text := range []string{"hunter2-hunter2", "hunter2-change-me-hunter2-change-me-hunter2", "hunter2\x00hunter2hunter2hunter2hunter2hunter2"} {
		if _, err := ParseSecrets(strings.NewReader(text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}

func TestCreateSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	made, err := CreateSecretFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	read, exposed, err := ReadSecrets(path)
	if err != nil || len(read) != 1 || !read[0].Equal(made) || exposed {
		t.Errorf("read back: %v, exposed %v, %v", read, exposed, err)
	}
	if _, err := CreateSecretFile(path); err == nil {
		t.Error("a file that was there is written over")
	}
	if again, _, _ := ReadSecrets(path); len(again) != 1 || !again[0].Equal(made) {
		t.Error("a file that was there has changed")
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, exposed, _ := ReadSecrets(path); !exposed {
		t.Error("a file that others may read goes unnoticed")
	}
	if _, err := CreateSecretFile(filepath.Join(path, "below a file")); err == nil {
		t.Error("a path that cannot be")
	}
}

func TestFingerprintsTellSecretsApart(t *testing.T) {
	a, b := mustSecret(t, testSecret), mustSecret(t, strings.ToUpper(testSecret))
	seen := map[uint64]string{}
	for name, secrets := range map[string][]Secret{"a": {a}, "b": {b}, "a, b": {a, b}, "b, a": {b, a}, "none": {}} {
		f := Fingerprint(secrets)
		if seen[f] != "" || f>>48 != 0 || f != Fingerprint(secrets) {
			t.Errorf("%s has the fingerprint %x, %s too", name, f, seen[f])
		}
		seen[f] = name
	}
	if Fingerprint([]Secret{a}) != Fingerprint([]Secret{mustSecret(t, testSecret)}) {
		t.Error("the same secret has two fingerprints")
	}
}

// An empty variable is an unset one: it neither contradicts a file nor is a secret.
func TestAnEmptyVariableHoldsNoSecret(t *testing.T) {
	t.Setenv(SecretVariable, "")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AppData", t.TempDir())
	if _, err := FindSecrets(""); err != ErrNoSecret {
		t.Errorf("without a file: %v", err)
	}
	path := filepath.Join(t.TempDir(), "secret")
	made, err := CreateSecretFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := FindSecrets(path); err != nil || !found.Secrets[0].Equal(made) {
		t.Errorf("with a file: %v", err)
	}
}
