package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// TestMain lets the test binary play ollama-proxy, so that tests run the real
// command line in processes of its own.
func TestMain(m *testing.M) {
	if os.Getenv("BE_OLLAMA_PROXY") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// home is an environment in which no secret can be found.
func command(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = []string{"BE_OLLAMA_PROXY=1", "HOME=" + home, "XDG_CONFIG_HOME=" + home, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// run runs a command to its end.
func run(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), talk.String(), cmd.ProcessState.ExitCode()
}

// makeSecret makes a secret file and returns its path.
func makeSecret(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if _, err := signer.CreateSecretFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// server is a running `ollama-proxy serve`.
type server struct {
	*exec.Cmd
	address, metrics string
	stdout           *bytes.Buffer
	log              func() string // everything logged, once the process has ended
}

var servingLine = regexp.MustCompile(`msg=serving address=(\S+) metrics=(\S+)`)

// start starts a server and waits until it serves.
func start(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{Cmd: cmd, stdout: new(bytes.Buffer)}
	cmd.Stdout = s.stdout
	talk, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var all bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(talk, &all))
	for s.address == "" && lines.Scan() {
		if m := servingLine.FindStringSubmatch(lines.Text()); m != nil {
			s.address, s.metrics = "http://"+m[1], "http://"+m[2]
		}
	}
	if s.address == "" {
		t.Fatalf("it does not serve: %s", all.String())
	}
	read := make(chan struct{})
	go func() { defer close(read); io.Copy(&all, talk) }()
	s.log = func() string { <-read; return all.String() }
	return s
}

func serveArgs(more ...string) []string {
	return append([]string{"serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}, more...)
}

func get(t *testing.T, url, key string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

func TestMintIsOfflineAndPipesClean(t *testing.T) {
	path := makeSecret(t)
	secrets, _, err := signer.ReadSecrets(path)
	if err != nil {
		t.Fatal(err)
	}
	verifier := signer.NewVerifier(secrets...)
	for _, name := range []string{"mint", "generateAPIKey"} {
		out, talk, code := run(t, command(t, t.TempDir(), name, "--secret-file", path, "--count", "3", "--admin"))
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if code != 0 || talk != "" || len(lines) != 3 {
			t.Errorf("%s: exit %d, %q on stderr, %d lines", name, code, talk, len(lines))
		}
		for _, key := range lines {
			if k, err := verifier.Verify(key, time.Now()); err != nil || !k.Admin {
				t.Errorf("%s printed %q: %v", name, key, err)
			}
		}
	}
}

func TestTheOpenSSLRecipeOfTheReadme(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	recipe := regexp.MustCompile("(?s)```sh\n(# a key without ollama-proxy.*?)```").FindSubmatch(readme)
	if recipe == nil {
		t.Fatal("the README has no such recipe")
	}
	path := makeSecret(t)
	secrets, _, _ := signer.ReadSecrets(path)
	cmd := exec.Command("sh", "-euc", strings.ReplaceAll(string(recipe[1]), "/etc/ollama-proxy/secret", path))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := signer.NewVerifier(secrets...).Verify(strings.TrimSpace(string(out)), time.Now()); err != nil {
		t.Errorf("%q: %v", out, err)
	}
}

func TestInspect(t *testing.T) {
	path := makeSecret(t)
	out, _, _ := run(t, command(t, t.TempDir(), "mint", "--secret-file", path))
	key := strings.TrimSpace(out)
	for _, row := range []struct {
		name   string
		args   []string
		stdin  string
		code   int
		output string
	}{
		{"no secret at hand", []string{key}, "", 0, "verdict: not checked"},
		{"valid", []string{"--secret-file", path, key}, "", 0, "verdict: valid"},
		{"from stdin", []string{"--secret-file", path, "-"}, key + "\n", 0, "verdict: valid"},
		{"another secret", []string{"--secret-file", makeSecret(t), key}, "", 1, "verdict: refused: forged key"},
		{"no key", []string{"hello"}, "", 1, "malformed key"},
		{"nothing", nil, "", 1, "no KEY given"},
		{"a flag too late", []string{key, "--json"}, "", 1, "--json comes too late"},
		{"a word too many", []string{key, key}, "", 1, "too many"},
	} {
		cmd := command(t, t.TempDir(), append([]string{"inspect"}, row.args...)...)
		cmd.Stdin = strings.NewReader(row.stdin)
		out, talk, code := run(t, cmd)
		if code != row.code || !strings.Contains(out+talk, row.output) {
			t.Errorf("%s: exit %d, %s%s", row.name, code, out, talk)
		}
		if code != 0 && strings.Count(talk, "\n") != 1 {
			t.Errorf("%s: not one line on stderr: %q", row.name, talk)
		}
		if tag := key[len(key)-43:]; strings.Contains(out+talk, tag) {
			t.Errorf("%s: the key comes out", row.name)
		}
	}
	out, _, _ = run(t, command(t, t.TempDir(), "inspect", "--json", "--secret-file", path, key))
	var report struct{ ID, Verdict string }
	if err := json.Unmarshal([]byte(out), &report); err != nil || !strings.Contains(key, report.ID) || report.Verdict != "valid" {
		t.Errorf("%s: %v", out, err)
	}
}

func TestSecret(t *testing.T) {
	out, talk, code := run(t, command(t, t.TempDir(), "secret"))
	if _, err := signer.ParseSecret(strings.TrimSpace(out)); err != nil || code != 0 || talk != "" {
		t.Errorf("exit %d, %q, %v", code, talk, err)
	}
	path := filepath.Join(t.TempDir(), "secret")
	out, _, code = run(t, command(t, t.TempDir(), "secret", "--out", path))
	if secrets, exposed, err := signer.ReadSecrets(path); code != 0 || out != "" || err != nil || exposed || len(secrets) != 1 {
		t.Errorf("exit %d, %q, %v", code, out, err)
	}
	before, _ := os.ReadFile(path)
	_, talk, code = run(t, command(t, t.TempDir(), "secret", "--out", path))
	after, _ := os.ReadFile(path)
	if code != 1 || !strings.Contains(talk, "file exists") || !bytes.Equal(before, after) {
		t.Errorf("written over: exit %d, %q", code, talk)
	}
}

func TestBadInputGetsOneClearLine(t *testing.T) {
	placeholder := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(placeholder, []byte("change-me-change-me-change-me-change-me\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ args, want string }{
		{"mint", "no secret"},
		{"mint --secret-file /nowhere/secret", "no such file"},
		{"mint --secret-file " + placeholder, "line 1: the secret is a placeholder"},
		{"mint --count 0 --secret-file " + placeholder, "--count: 0"},
		{"mint --cuont 1", "-cuont"},
		{"mint now", "mint takes flags only"},
		{"mnit", "no command \"mnit\""},
		{"serve --listen nonsense", "--listen: "},
		{"serve --max-body 64parsecs", "--max-body: \"64parsecs\" is not a size such as 64MiB"},
		{"serve --log-level loud", "--log-level: \"loud\""},
		{"serve --log-format xml", "--log-format: \"xml\""},
		{"serve --demo --upstream ftp://x --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:x", "--metrics-listen: "},
		{"serve --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --upstream ftp://x", "--upstream: ftp is no scheme"},
		{"healthcheck --metrics-listen 127.0.0.1:1", "refused"},
	} {
		out, talk, code := run(t, command(t, t.TempDir(), strings.Fields(row.args)...))
		if code != 1 || !strings.Contains(talk, row.want) || strings.Count(talk, "\n") != 1 {
			t.Errorf("%s: exit %d, %q, %q on stderr", row.args, code, out, talk)
		}
	}
}

func TestServeMakesItsFirstSecret(t *testing.T) {
	home := t.TempDir()
	s := start(t, command(t, home, serveArgs("--upstream", "127.0.0.1:1")...))
	path := filepath.Join(home, "ollama-proxy", "secret")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	key := regexp.MustCompile(`OLLAMA-\S+\.[\w-]{43}`).FindString(s.stdout.String())
	if key == "" || !strings.Contains(s.stdout.String(), path) || !strings.Contains(s.stdout.String(), "curl "+s.address) {
		t.Errorf("printed:\n%s", s.stdout)
	}
	if code, body := get(t, s.address+"/api/tags", ""); code != http.StatusUnauthorized {
		t.Errorf("without a key: %d %s", code, body)
	}
	if code, body := get(t, s.address+"/api/tags", key); code != http.StatusBadGateway || !strings.Contains(body, "Ollama cannot be reached") {
		t.Errorf("with the key: %d %s", code, body)
	}
	if code, _ := get(t, s.metrics+"/readyz", ""); code != http.StatusOK {
		t.Errorf("not ready: %d", code)
	}
	_, talk, code := run(t, command(t, home, "healthcheck", "--metrics-listen", strings.TrimPrefix(s.metrics, "http://")))
	if code != 0 {
		t.Errorf("healthcheck: exit %d, %s", code, talk)
	}
	s.Process.Signal(syscall.SIGTERM)
	log := s.log()
	if err := s.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if !strings.Contains(log, "Ollama cannot be reached") || strings.Contains(log, key[len(key)-43:]) {
		t.Errorf("logged:\n%s", log)
	}

	again := start(t, command(t, home, serveArgs("--upstream", "127.0.0.1:1")...))
	if again.stdout.Len() != 0 {
		t.Errorf("the second start prints:\n%s", again.stdout)
	}
	if code, _ := get(t, again.address+"/api/tags", key); code != http.StatusBadGateway {
		t.Errorf("the first key on the second start: %d", code)
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	s := start(t, command(t, t.TempDir(), serveArgs("--demo", "--shutdown-grace", "1h")...))
	key := regexp.MustCompile(`OLLAMA-\S+\.[\w-]{43}`).FindString(s.stdout.String())
	r, _ := http.NewRequest(http.MethodPost, s.address+"/api/generate", strings.NewReader(`{"model":"hang-mid"}`))
	r.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	s.Process.Signal(syscall.SIGTERM)
	for code := 0; code != http.StatusServiceUnavailable; {
		code, _ = get(t, s.metrics+"/readyz", "")
	}
	s.Process.Signal(syscall.SIGTERM)
	s.log()
	if err := s.Wait(); err == nil {
		t.Error("ended as if the stream had finished")
	}
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("the stream looks whole")
	}
}

func TestHelpShowsNoSecret(t *testing.T) {
	const planted = "planted-secret-0123456789-abcdefghij"
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"mint", "--help"}, {"inspect", "--help"}, {"secret", "--help"}, {"healthcheck", "--help"}} {
		cmd := command(t, t.TempDir(), args...)
		cmd.Env = append(cmd.Env, "OLLAMA_PROXY_SECRET="+planted)
		out, talk, code := run(t, cmd)
		if code != 0 || !strings.Contains(out, "ollama-proxy") || strings.Contains(out+talk, "planted") {
			t.Errorf("%v: exit %d\n%s%s", args, code, out, talk)
		}
		if len(args) > 1 && !strings.Contains(out, "Example: ollama-proxy "+args[0]) {
			t.Errorf("%v shows no example", args)
		}
	}
}
