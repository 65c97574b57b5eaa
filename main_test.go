package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
	"github.com/ollama-proxy/ollama-proxy/handler/status"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
	"github.com/ollama-proxy/ollama-proxy/metrics"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// TestMain lets the test binary play ollama-proxy, so that tests run the real
// command line in processes of its own.
func TestMain(m *testing.M) {
	if os.Getenv("BE_OLLAMA_PROXY") != "" {
		signer.SystemSecretFile = os.Getenv("SYSTEM_SECRET_FILE") // not this machine's
		main()
		return
	}
	os.Exit(m.Run())
}

// command runs in a home in which no secret can be found, and finds no proxy of this
// machine but those that a test names.
func command(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	// Under the race detector a process would wait a second before it ends.
	cmd.Env = []string{"GORACE=atexit_sleep_ms=0", "BE_OLLAMA_PROXY=1", "HOME=" + home, "XDG_CONFIG_HOME=" + home, "PATH=" + os.Getenv("PATH"), "OLLAMA_PROXY_METRICS_LISTEN=127.0.0.1:1"}
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

// process is a running `ollama-proxy serve`.
type process struct {
	*exec.Cmd
	address, metrics string
	stdout           string        // its path
	log              func() string // everything logged, once the process has ended
}

var servingLine = regexp.MustCompile(`msg"?[=:]"?serving"? ?,?"?address"?[=:]"?([^\s"]+)"?[ ,]"?(?:metrics|remote)"?[=:]"?([^\s"]+)`)

// start starts a server and waits until it serves.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	s := &process{Cmd: cmd, stdout: filepath.Join(t.TempDir(), "stdout")}
	stdout, err := os.Create(s.stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	cmd.Stdout = stdout
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

// What the metrics listener tells, it tells by an address, a local name, or one that
// was let in: not by a name that may be a stranger's.
func TestMetricsHostLetsANameIn(t *testing.T) {
	s := start(t, command(t, t.TempDir(), serveArgs("--demo", "--metrics-host", "gpu.example.com")...))
	for host, want := range map[string]int{"": 200, "proxy:9464": 200, "gpu.example.com:9464": 200, "evil.example:9464": 403} {
		for _, path := range []string{"/metrics", "/status", "/"} {
			r, _ := http.NewRequest(http.MethodGet, s.metrics+path, nil)
			r.Host = host
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s of %q: status %d", path, host, res.StatusCode)
			}
		}
	}
	_, talk, code := run(t, command(t, t.TempDir(), serveArgs("--demo", "--metrics-host", "gpu.example.com:9464")...))
	if code != 1 || !strings.Contains(talk, "--metrics-host: ") {
		t.Errorf("a name with a port: exit %d, %q", code, talk)
	}
}

// ownAddress is an address of this machine that is not a loopback one, for which
// programs leave out the proxy of the environment anyway.
func ownAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return "0.0.0.0" // leads to this machine, too
}

// A proxy that the environment names sees nothing of what goes in the clear: no key,
// no prompt, no list of revoked keys, no metrics. With https it may tunnel.
func TestNothingGoesThroughAProxyInTheClear(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	middle := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dump, _ := httputil.DumpRequest(r, true)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, string(dump))
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(middle.Close)
	address, dir := ownAddress(t), t.TempDir()
	at := func(h http.Handler) string {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: h}
		go server.Serve(l)
		t.Cleanup(func() { server.Close() })
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return net.JoinHostPort(address, port)
	}
	behind := func(args ...string) *exec.Cmd {
		cmd := command(t, dir, args...)
		for _, name := range []string{"http_proxy", "https_proxy", "all_proxy"} {
			cmd.Env = append(cmd.Env, name+"="+middle.URL, strings.ToUpper(name)+"="+middle.URL)
		}
		return cmd
	}
	list := at(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "# nobody\n") }))
	stand := standin.New(standin.Options{})
	ollama := at(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = "localhost" // as if it listened on all addresses
		stand.ServeHTTP(w, r)
	}))
	secret := makeSecret(t)
	key := lines(t, command(t, dir, "mint", "--secret-file", secret))[0]
	s := start(t, behind("serve", "--listen", address+":0", "--metrics-listen", address+":0", "--secret-file", secret,
		"--upstream", "http://"+ollama, "--revocations", "http://anyone:hunter2@"+list+"/", "--reload-interval", "10ms"))
	private := strings.TrimPrefix(s.metrics, "http://")
	lines(t, behind("healthcheck", "--metrics-listen", private))
	lines(t, behind("top", "--once", "--metrics-listen", private))
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	connected := start(t, behind("connect", "--listen", "127.0.0.1:0", "--key-file", file, "--insecure", s.address))
	if status, body := get(t, connected.address+"/api/version", ""); status != http.StatusOK {
		t.Errorf("by connect: status %d, %s", status, body)
	}
	mu.Lock()
	if len(seen) != 0 {
		t.Errorf("the proxy of the environment saw %d requests, the first:\n%s", len(seen), seen[0])
	}
	seen = nil
	mu.Unlock()

	tunnelled := start(t, behind("connect", "--listen", "127.0.0.1:0", "--key-file", file, strings.Replace(s.address, "http:", "https:", 1)))
	get(t, tunnelled.address+"/api/version", "")
	mu.Lock()
	defer mu.Unlock()
	if len(seen) == 0 || slices.ContainsFunc(seen, func(head string) bool {
		return !strings.HasPrefix(head, "CONNECT ") || strings.Contains(head, "OLLAMA-")
	}) {
		t.Errorf("with https, the proxy of the environment saw %q", seen)
	}
}

func TestMintIsOfflineAndPipesClean(t *testing.T) {
	path := makeSecret(t)
	secrets, _, err := signer.ReadSecrets(path)
	if err != nil {
		t.Fatal(err)
	}
	verifier := signer.NewVerifier(secrets...)
	for _, name := range []string{"mint", "generateAPIKey"} {
		out, talk, code := run(t, command(t, t.TempDir(), name, "--secret-file", path, "--count", "3", "--admin", "--ledger", "none"))
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
		{"another secret", []string{"--secret-file", makeSecret(t), key}, "", 1, "verdict: refused: bad signature"},
		{"no key", []string{"hello"}, "", 1, "malformed key: one looks like OLLAMA-<uuid>.<tag>"},
		{"nothing on stdin", []string{"-"}, "", 1, "malformed key"},
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

// What starts a proxy may run this each time, and must not go on with a file
// that holds no secret.
func TestSecretIfMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	var made []byte
	for i, want := range []string{"Made a new secret: " + path + "\n", "", ""} {
		out, talk, code := run(t, command(t, t.TempDir(), "secret", "--out", path, "--if-missing"))
		if code != 0 || out != "" || talk != want {
			t.Errorf("time %d: %d, %q, %q", i+1, code, out, talk)
		}
		now, err := os.ReadFile(path)
		if err != nil || made != nil && !bytes.Equal(now, made) {
			t.Errorf("time %d: the secret has changed, %v", i+1, err)
		}
		made = now
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"secret", "--out", path, "--if-missing"},
		{"secret", "--out", filepath.Dir(path), "--if-missing"},
		{"secret", "--if-missing"},
	} {
		if out, talk, code := run(t, command(t, t.TempDir(), args...)); code != 1 || out != "" || strings.Count(talk, "\n") != 1 {
			t.Errorf("%q: %d, %q, %q", args, code, out, talk)
		}
	}
}

// TestOutputThatCannotBeWritten is no success: who pipes keys into a file must
// hear that the disk is full.
func TestOutputThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full: ", err)
	}
	defer full.Close()
	path := makeSecret(t)
	key := lines(t, command(t, t.TempDir(), "mint", "--secret-file", path))[0]
	for _, args := range [][]string{
		{"secret"}, {"man"}, {"completion", "fish"}, {"mint"}, {"mint", "--count", "1000"}, {"mint", "--json"}, {"inspect", key}, {"inspect", "--json", key}, {"restrict", "--rpm", "1", key},
		serveArgs("--demo"),
	} {
		cmd := command(t, t.TempDir(), args...)
		cmd.Env = append(cmd.Env, "OLLAMA_PROXY_SECRET_FILE="+path)
		var talk bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &talk
		cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(talk.String(), "no space left on device") || strings.Count(talk.String(), "\n") != 1 {
			t.Errorf("%s: exit %d, %q", args[0], code, talk.String())
		}
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
		{"mint --cuont 1", "there is no flag --cuont (did you mean \"--count\"?)"},
		{"mint -x", "there is no flag --x; see ollama-proxy mint --help"},
		{"mint --count 1x", "--count: \"1x\" is not a whole number such as 10"},
		{"mint --json=maybe", "--json: \"maybe\" is not true or false"},
		{"mint --count", "--count needs a value after it: a whole number such as 10"},
		{"mint --models", "--models needs a value after it: GLOB"},
		{"serve --heartbeat 15", "--heartbeat: \"15\" is not a duration such as 30s or 5m"},
		{"serve --max-in-flight -1", "--max-in-flight: -1 is less than 0"},
		{"serve --shutdown-grace -1s", "--shutdown-grace: -1s is less than 0s"},
		{"serve --demo --listen=", "--listen is empty"},
		{"serve --demo --metrics-listen=", "--metrics-listen is empty"},
		{"serve --demo --revocations=", "--revocations is empty"},
		{"mint --secret-file=", "--secret-file is empty"},
		{"--versoin", "there is no flag --versoin (did you mean \"--version\"?)"},
		{"srve", "there is no command \"srve\" (did you mean \"serve\"?)"},
		{"xyzzy", "there is no command \"xyzzy\"; see"},
		{"mint now", "mint takes flags only"},
		{"serve --drain-delay -1s", "--drain-delay: -1s is less than 0s"},
		{"serve --max-connections 0", "--max-connections: 0 is less than 1"},
		{"mnit", "no command \"mnit\""},
		{"serve --listen nonsense", "--listen: \"nonsense\" is not an address: write a host and a port, such as 127.0.0.1:8080"},
		{"serve --max-body 64parsecs", "--max-body: \"64parsecs\" is not a size such as 64MiB"},
		{"serve --tls-cert /nowhere/cert --tls-key /nowhere/key --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --demo", "certificate /nowhere/cert: "},
		{"serve --tls-cert /nowhere/cert --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --demo", "--tls-cert and --tls-key go together"},
		{"serve --acme-domain gpu.example.com --tls-cert /nowhere/cert --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --demo", "--acme-domain and --tls-cert are both set"},
		{"serve --acme-domain 10.0.0.1 --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --demo", "--acme-domain: \"10.0.0.1\" is not a domain name such as gpu.example.com"},
		{"serve --acme-cache /nowhere --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --demo", "--acme-cache and --acme-directory need --acme-domain"},
		{"serve --reload-interval 0s", "--reload-interval: 0s is not more than 0s"},
		{"serve --stall-timeout -1s", "--stall-timeout: -1s is not more than 0s"},
		{"serve --allow-origin example.com --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --demo", "--allow-origin: "},
		{"serve --log-level loud", "--log-level: \"loud\""},
		{"serve --log-format xml", "--log-format: \"xml\""},
		{"serve --demo --upstream ftp://x --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:x", "--metrics-listen: "},
		{"serve --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --upstream ftp://x", "--upstream: ftp is not a scheme"},
		{"healthcheck --metrics-listen 127.0.0.1:1", "no proxy answers on --metrics-listen 127.0.0.1:1: connection refused"},
		{"serve --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --upstreams-file /nowhere/list", "open /nowhere/list: "},
		{"serve --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --upstreams-file list --upstream http://a", "--upstream and --upstreams-file are both set"},
		{"serve --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --upstream gpu1=http://a,wieght=2", "--upstream: wieght=: after a name comes a URL"},
		{"top --metrics-listen 127.0.0.1:1", "no proxy answers on --metrics-listen 127.0.0.1:1: connection refused"},
		{"top --interval 0s", "--interval: 0s is not more than 0s"},
		{"top now", "top takes flags only"},
	} {
		out, talk, code := run(t, command(t, t.TempDir(), strings.Fields(row.args)...))
		if code != 1 || out != "" || !strings.Contains(talk, row.want) || strings.Count(talk, "\n") != 1 {
			t.Errorf("%s: exit %d, %q, %q on stderr", row.args, code, out, talk)
		}
	}
}

func TestBadVariablesAreNamed(t *testing.T) {
	for _, row := range []struct{ command, variable, want string }{
		{"serve", "OLLAMA_PROXY_MAX_IN_FLIGHT=many", "OLLAMA_PROXY_MAX_IN_FLIGHT: \"many\" is not a whole number such as 10"},
		{"serve", "OLLAMA_PROXY_ALLOW_CLOUD=perhaps", "OLLAMA_PROXY_ALLOW_CLOUD: \"perhaps\" is not true or false"},
		{"serve", "OLLAMA_PROXY_STALL_TIMEOUT=5", "OLLAMA_PROXY_STALL_TIMEOUT: \"5\" is not a duration such as 30s or 5m"},
		{"serve", "OLLAMA_PROXY_STALL_TIMEOUT=-5s", "--stall-timeout: -5s is not more than 0s (set by OLLAMA_PROXY_STALL_TIMEOUT)"},
		{"serve", "OLLAMA_PROXY_MAX_BODY=much", "--max-body: \"much\" is not a size such as 64MiB, in KiB, MiB or GiB (set by OLLAMA_PROXY_MAX_BODY)"},
		{"serve --max-body more", "OLLAMA_PROXY_MAX_BODY=much", "--max-body: \"more\" is not a size such as 64MiB, in KiB, MiB or GiB\n"},
		{"serve --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0", "OLLAMA_HOST=http://127.0.0.1/ollama", "OLLAMA_HOST: it must end after host and port"},
		{"serve --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0", "OLLAMA_HOST=:0", "OLLAMA_HOST: there is no such port"},
	} {
		cmd := command(t, t.TempDir(), strings.Fields(row.command)...)
		cmd.Env = append(cmd.Env, row.variable)
		out, talk, code := run(t, cmd)
		if code != 1 || out != "" || !strings.Contains(talk, row.want) || strings.Count(talk, "\n") != 1 {
			t.Errorf("%s %s: exit %d, %q, %q on stderr", row.variable, row.command, code, out, talk)
		}
	}
}

// TestNoVariableSaysWhatAKeyMayDo: one in a profile would count for every key, unseen.
func TestNoVariableSaysWhatAKeyMayDo(t *testing.T) {
	secret := makeSecret(t)
	cmd := command(t, t.TempDir(), "mint")
	cmd.Env = append(cmd.Env, "OLLAMA_PROXY_SECRET_FILE="+secret, "OLLAMA_PROXY_ADMIN=true", "OLLAMA_PROXY_COUNT=3", "OLLAMA_PROXY_MODELS=tiny", "OLLAMA_PROXY_LABEL=alice", "OLLAMA_PROXY_JSON=true", "OLLAMA_PROXY_DERIVE=site")
	key, talk, code := run(t, cmd)
	key = strings.TrimSpace(key)
	if u, err := signer.Inspect(key); code != 0 || err != nil || u.Admin || len(u.Caveats) != 0 {
		t.Fatalf("exit %d, %v, %q on stderr", code, err, talk)
	}
	cmd = command(t, t.TempDir(), "restrict", "--rpm", "5", "--no-id", key)
	cmd.Env = append(cmd.Env, "OLLAMA_PROXY_MODELS=tiny", "OLLAMA_PROXY_NO_ID=false", "OLLAMA_PROXY_LABEL=alice")
	narrower, talk, code := run(t, cmd)
	if u, err := signer.Inspect(strings.TrimSpace(narrower)); code != 0 || err != nil || len(u.Caveats) != 1 {
		t.Errorf("exit %d, %v, %q on stderr", code, err, talk)
	}
	for _, name := range []string{"mint", "restrict"} {
		help, _, _ := run(t, command(t, t.TempDir(), name, "--help"))
		for _, v := range regexp.MustCompile(`\$(OLLAMA_PROXY_[A-Z_]+)`).FindAllStringSubmatch(help, -1) {
			if !strings.HasSuffix(v[1], "_FILE") && v[1] != "OLLAMA_PROXY_LEDGER" && v[1] != "OLLAMA_PROXY_METRICS_LISTEN" {
				t.Errorf("%s takes %s", name, v[1])
			}
		}
	}
}

// TestAnEmptyVariableIsAnUnsetOne, whichever flag it is of: compose files and shells make
// an empty one of what they do not know.
func TestAnEmptyVariableIsAnUnsetOne(t *testing.T) {
	help, _, _ := run(t, command(t, t.TempDir(), "serve", "--help"))
	variables := regexp.MustCompile(`\$(OLLAMA_PROXY_[A-Z_]+)`).FindAllStringSubmatch(help, -1)
	if len(variables) < 20 {
		t.Fatalf("%d variables in the help", len(variables))
	}
	cmd := command(t, t.TempDir(), "serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
	cmd.Env = append(cmd.Env, "OLLAMA_PROXY_SECRET=", "OLLAMA_HOST=ftp://a")
	for _, v := range variables {
		cmd.Env = append(cmd.Env, v[1]+"=")
	}
	// All is as it should be but the Ollama, which is looked at after the flags.
	if out, talk, code := run(t, cmd); code != 1 || out != "" || !strings.Contains(talk, "OLLAMA_HOST: ftp is not a scheme") || strings.Count(talk, "\n") != 1 {
		t.Errorf("exit %d, %q, %q on stderr", code, out, talk)
	}
	cmd = command(t, t.TempDir(), "mint", "--secret-file", makeSecret(t))
	cmd.Env = append(cmd.Env, "OLLAMA_PROXY_SECRET=", "OLLAMA_PROXY_COUNT=", "OLLAMA_PROXY_ADMIN=", "OLLAMA_PROXY_MODELS=", "OLLAMA_PROXY_EXPIRES_IN=")
	if out, talk, code := run(t, cmd); code != 0 || !strings.HasPrefix(out, "OLLAMA-0") || strings.Contains(out, "~") {
		t.Errorf("exit %d, %q, %q on stderr", code, out, talk)
	}
}

// TestAProxyIsNotItsOwnOllama: each request would come back to it.
func TestAProxyIsNotItsOwnOllama(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	for _, row := range []string{
		"--listen 127.0.0.1:P --metrics-listen 127.0.0.1:0 --upstream http://localhost:P",
		"--listen 127.0.0.1:P --metrics-listen 127.0.0.1:0 --upstream a=http://10.0.0.1:P,b=http://127.0.0.1:P",
		"--listen :P --metrics-listen 127.0.0.1:0 --upstream 127.0.0.1:P",
		"--listen 127.0.0.1:0 --metrics-listen 127.0.0.1:P --upstream http://0.0.0.0:P",
	} {
		args := strings.Fields(strings.ReplaceAll(row, "P", port))
		out, talk, code := run(t, command(t, t.TempDir(), append([]string{"serve"}, args...)...))
		if code != 1 || out != "" || !strings.Contains(talk, ":"+port+" is this proxy itself: say with --upstream where Ollama is\n") || strings.Count(talk, "\n") != 1 {
			t.Errorf("%s: exit %d, %q, %q on stderr", row, code, out, talk)
		}
	}
	cmd := command(t, t.TempDir(), "serve", "--listen", "127.0.0.1:"+port, "--metrics-listen", "127.0.0.1:0")
	cmd.Env = append(cmd.Env, "OLLAMA_HOST=\" 0.0.0.0:"+port+" \"")
	if _, talk, code := run(t, cmd); code != 1 || !strings.Contains(talk, "is this proxy itself") {
		t.Errorf("exit %d, %q on stderr", code, talk)
	}
}

func TestHelpIsFoundWhereItIsLookedFor(t *testing.T) {
	for _, row := range []struct{ args, want string }{
		{"help", "COMMANDS:"}, {"", "COMMANDS:"}, {"--help", "COMMANDS:"}, {"help me", "COMMANDS:"},
		{"help mint", "--expires-in DURATION"}, {"mint help", "--expires-in DURATION"}, {"mint --help", "--expires-in DURATION"},
	} {
		out, talk, code := run(t, command(t, t.TempDir(), strings.Fields(row.args)...))
		if code != 0 || talk != "" || !strings.Contains(out, row.want) {
			t.Errorf("%s: exit %d, %q, %q on stderr", row.args, code, out, talk)
		}
	}
}

// A key is not for the eyes of whoever reads what went wrong.
func TestAKeyThatIsNoCommandDoesNotShow(t *testing.T) {
	key := lines(t, command(t, t.TempDir(), "mint", "--secret-file", makeSecret(t)))[0]
	for _, args := range [][]string{{key}, {"help", key}, {"mint", key}, {"connect", key}, {"completion", key}, {"revoke", "--revocations", "x", key + "x"}} {
		out, talk, _ := run(t, command(t, t.TempDir(), args...))
		if tag := key[len(key)-43:]; strings.Contains(out+talk, tag) {
			t.Errorf("%s: %s%s", args[0], out, talk)
		}
	}
}

func TestWhatHelpsIsSaid(t *testing.T) {
	dir, taken := t.TempDir(), httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(taken.Close)
	secret, list := makeSecret(t), filepath.Join(dir, "revocations")
	key := lines(t, command(t, dir, "mint", "--secret-file", secret))[0]
	address := strings.TrimPrefix(taken.URL, "http://")
	for _, row := range []struct {
		args string
		code int
		want string
	}{
		{"serve --demo --listen " + address, 1, address + " is in use: take another port"},
		{"serve --demo --listen 127.0.0.1:0 --metrics-listen " + address, 1, "--metrics-listen: " + address + " is in use: take another port"},
		{"serve --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --secret-file " + secret + " --revocations " + list, 1, "an empty file is a list, too"},
		{"healthcheck --metrics-listen " + address, 1, "answers with status 404"},
		{"mint --secret-file " + dir + "/none", 1, "`ollama-proxy secret --out " + dir + "/none` makes one"},
		{"mint --expires-at 2020-01-31T12:00:00Z --secret-file " + secret, 0, "1 key was made that can do nothing: it expired at 2020-01-31T12:00:00Z"},
		{"secret --out " + secret, 1, "--if-missing is content with it"},
		{"restrict " + key, 1, "no restriction given: name one, such as --models llama3.2"},
		{"revoke --revocations " + list + " " + key, 1, "there is no list " + list},
		{"revoke --create --revocations " + list + " " + key, 0, "1 added to " + list},
		{"revoke --revocations " + list + " " + key, 0, list + " has it already"},
		{"revoke --revocations " + list + " -", 1, "no KEY, UUID or LABEL on standard input"},
	} {
		out, talk, code := run(t, command(t, dir, strings.Fields(row.args)...))
		if code != row.code || !strings.Contains(talk, row.want) || strings.Count(talk, "\n") != 1 {
			t.Errorf("%s: exit %d, %q, %q on stderr", row.args, code, out, talk)
		}
	}
}

// TestTheCommandTreeIsDescribed looks for every command, flag and variable in
// what is made of the tree for shells and for man.
func TestTheCommandTreeIsDescribed(t *testing.T) {
	forms := map[string]string{}
	for _, args := range [][]string{{"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}, {"man"}} {
		out, talk, code := run(t, command(t, t.TempDir(), args...))
		if code != 0 || talk != "" {
			t.Fatalf("%v: exit %d, %q", args, code, talk)
		}
		forms[args[len(args)-1]] = strings.ReplaceAll(out, `\-`, "-")
	}
	for _, command := range newApp().Commands {
		for form, text := range forms {
			for _, name := range command.Names() {
				if !strings.Contains(text, name) {
					t.Errorf("%s knows nothing of %s", form, name)
				}
			}
		}
		for _, f := range command.Flags {
			f := f.(cli.DocGenerationFlag)
			if f.TakesValue() != strings.Contains(f.GetUsage(), "`") {
				t.Errorf("%s --%s: the usage names no value, or one that it does not take", command.Name, f.Names()[0])
			}
			for form, text := range forms {
				if form == "fish" && !strings.Contains(text, "'__ollama_proxy_is "+strings.Join(command.Names(), " ")+"' -l "+f.Names()[0]+" ") ||
					form != "fish" && !strings.Contains(text, "--"+f.Names()[0]) ||
					form == "man" && len(f.GetEnvVars()) > 0 && !strings.Contains(text, f.GetEnvVars()[0]) {
					t.Errorf("%s knows nothing of %s --%s", form, command.Name, f.Names()[0])
				}
			}
		}
	}
	for _, args := range [][]string{{"completion"}, {"completion", "man"}, {"completion", "../shell/bash"}, {"man", "bash"}} {
		if out, talk, code := run(t, command(t, t.TempDir(), args...)); code != 1 || out != "" || strings.Count(talk, "\n") != 1 {
			t.Errorf("%v: exit %d, %q, %q", args, code, out, talk)
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
	key := firstKey(s)
	if key == "" || !strings.Contains(s.printed(), path) || !strings.Contains(s.printed(), "curl "+s.address) {
		t.Errorf("printed:\n%s", s.printed())
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
	if printed := again.printed(); printed != "" {
		t.Errorf("the second start prints:\n%s", printed)
	}
	if code, _ := get(t, again.address+"/api/tags", key); code != http.StatusBadGateway {
		t.Errorf("the first key on the second start: %d", code)
	}
}

// Who has named neither a secret nor a list can revoke all the same: the list is
// beside the secret that serve made.
func TestWhoNamesNothingCanRevoke(t *testing.T) {
	ollama := httptest.NewServer(standin.New(standin.Options{}))
	t.Cleanup(ollama.Close)
	home := t.TempDir()
	list := filepath.Join(home, "ollama-proxy", "revocations")
	s := start(t, command(t, home, serveArgs("--upstream", ollama.URL, "--reload-interval", "20ms")...))
	key := lines(t, command(t, home, "mint"))[0]
	running := stream(t, s, key)
	if _, talk, code := run(t, command(t, home, "revoke", key)); code != 0 || !strings.HasPrefix(talk, "1 added to "+list+", which serve reads if neither") {
		t.Errorf("exit %d, %q", code, talk)
	}
	if rest, err := io.ReadAll(running); err == nil || !strings.Contains(string(rest), "the API key has been revoked") {
		t.Errorf("the stream ends with %q, %v", rest, err)
	}
	s.Process.Signal(syscall.SIGTERM)
	s.Wait()
	if out, _, code := run(t, command(t, home, "inspect", key)); code != 1 || !strings.Contains(out, "refused: revoked key") {
		t.Errorf("exit %d, %s", code, out)
	}
	again := start(t, command(t, home, serveArgs("--upstream", ollama.URL)...))
	if code, _ := get(t, again.address+"/api/tags", key); code != http.StatusUnauthorized {
		t.Errorf("after a restart: %d", code)
	}

	// A secret from elsewhere has a list only where one is named.
	for _, secret := range []string{"OLLAMA_PROXY_SECRET_FILE=" + makeSecret(t), "OLLAMA_PROXY_SECRET=0123456789-0123456789-0123456789"} {
		cmd := command(t, home, "revoke", key)
		cmd.Env = append(cmd.Env, secret)
		if _, talk, code := run(t, cmd); code != 1 || !strings.Contains(talk, "name the list with --revocations FILE") {
			t.Errorf("with %s: exit %d, %q", secret, code, talk)
		}
	}
	if err := errors.Join(os.Remove(list), os.Mkdir(list, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, talk, code := run(t, command(t, home, serveArgs()...)); code != 1 || !strings.Contains(talk, list) || strings.Count(talk, "\n") != 1 {
		t.Errorf("with a list that is none: exit %d, %q", code, talk)
	}
}

// Who runs serve as one user, perhaps with sudo, and the other commands as another, has
// two secrets and two lists. Each command says which it used, and that the proxy has
// others.
func TestServeAndMintOfTwoUsers(t *testing.T) {
	root, user := t.TempDir(), t.TempDir()
	s := start(t, command(t, root, serveArgs("--upstream", "127.0.0.1:1", "--reload-interval", "10ms")...))
	metrics := strings.TrimPrefix(s.metrics, "http://")
	_, talk, code := run(t, command(t, user, "mint", "--metrics-listen", metrics))
	if code != 1 || !strings.Contains(talk, "no secret, but the proxy on "+metrics+" has one") || strings.Count(talk, "\n") != 1 {
		t.Errorf("no secret: exit %d, %q", code, talk)
	}

	// Another serve of the user's own makes theirs.
	own := start(t, command(t, user, serveArgs("--upstream", "127.0.0.1:1")...))
	own.Process.Signal(syscall.SIGTERM)
	own.Wait()
	secret, list := filepath.Join(user, "ollama-proxy", "secret"), filepath.Join(user, "ollama-proxy", "revocations")
	others := "The proxy on " + metrics + " has other secrets than " + secret
	out, talk, code := run(t, command(t, user, "mint", "--metrics-listen", metrics, "--label", "alice"))
	if code != 0 || !strings.HasPrefix(talk, "Using the secret "+secret+", and beside it minted\n") || !strings.Contains(talk, others) {
		t.Errorf("mint: exit %d, %q", code, talk)
	}
	key := strings.TrimSpace(out)
	if code, _ := get(t, s.address+"/api/tags", key); code != http.StatusUnauthorized {
		t.Errorf("the proxy knows the key: %d", code)
	}
	out, talk, code = run(t, command(t, user, "inspect", "--metrics-listen", metrics, key))
	if code != 0 || !strings.Contains(out, "verdict: valid") || !strings.HasPrefix(talk, "Using the secret "+secret+", and beside it revocations\n") || !strings.Contains(talk, others) {
		t.Errorf("inspect: exit %d, %q, %q", code, out, talk)
	}
	if out, talk, code = run(t, command(t, user, "keys", "--metrics-listen", metrics, "alice")); code != 0 || !strings.Contains(out, "alice") || !strings.Contains(talk, others) {
		t.Errorf("keys: exit %d, %q, %q", code, out, talk)
	}
	if _, talk, code = run(t, command(t, root, "revoke", "--before", "2026-01-01T00:00:00Z")); code != 0 {
		t.Fatalf("exit %d, %s", code, talk)
	}
	eventually(t, "the proxy has a list that is not the user's", func() bool {
		_, talk, _ = run(t, command(t, user, "inspect", "--metrics-listen", metrics, key))
		return strings.Contains(talk, "and another list of revoked keys than "+list)
	})

	// As the user who started it, all is in order.
	out, talk, code = run(t, command(t, root, "mint", "--metrics-listen", metrics, "--label", "alice"))
	if code != 0 || strings.Contains(talk, "The proxy on") {
		t.Errorf("mint as its user: exit %d, %q", code, talk)
	}
	if code, _ := get(t, s.address+"/api/tags", strings.TrimSpace(out)); code != http.StatusBadGateway {
		t.Errorf("its key: %d", code)
	}
}

// This machine's secret comes before the user's own, for serve as for mint.
func TestTheMachinesSecretIsFoundFirst(t *testing.T) {
	home, system := t.TempDir(), makeSecret(t)
	here := func(args ...string) *exec.Cmd {
		cmd := command(t, home, args...)
		cmd.Env = append(cmd.Env, "SYSTEM_SECRET_FILE="+system)
		return cmd
	}
	if _, err := signer.CreateSecretFile(filepath.Join(home, "secret")); err != nil {
		t.Fatal(err)
	}
	s := start(t, here(serveArgs("--upstream", "127.0.0.1:1", "--reload-interval", "10ms")...))
	out, talk, code := run(t, here("mint", "--label", "alice", "--metrics-listen", strings.TrimPrefix(s.metrics, "http://")))
	if code != 0 || !strings.HasPrefix(talk, "Using the secret "+system) || strings.Contains(talk, "The proxy on") {
		t.Errorf("exit %d, %q", code, talk)
	}
	key := strings.TrimSpace(out)
	if code, _ := get(t, s.address+"/api/tags", key); code != http.StatusBadGateway {
		t.Errorf("the key: %d", code)
	}
	if _, talk, code := run(t, here("revoke", "alice")); code != 0 || !strings.Contains(talk, "1 added to "+filepath.Join(filepath.Dir(system), "revocations")) {
		t.Errorf("exit %d, %q", code, talk)
	}
	eventually(t, "the key is revoked", func() bool {
		code, _ := get(t, s.address+"/api/tags", key)
		return code == http.StatusUnauthorized
	})
}

// A rotation by the command, while the proxy runs: old keys go on until the old secret
// is retired.
func TestRotationByCommand(t *testing.T) {
	dir, secret := t.TempDir(), makeSecret(t)
	s := start(t, command(t, dir, serveArgs("--upstream", "127.0.0.1:1", "--secret-file", secret, "--reload-interval", "10ms")...))
	accepts := func(key string) bool {
		code, _ := get(t, s.address+"/v1/models", key)
		return code == http.StatusBadGateway
	}
	old := lines(t, command(t, dir, "mint", "--secret-file", secret, "--label", "alice"))[0]
	lines(t, command(t, dir, "secret", "--rotate", secret))
	young := lines(t, command(t, dir, "mint", "--secret-file", secret, "--label", "bob"))[0]
	eventually(t, "both hold", func() bool { return accepts(young) && accepts(old) })
	if _, talk, code := run(t, command(t, dir, "secret", "--retire", secret)); code != 1 || !strings.Contains(talk, " 1 key of the ledger ") || !strings.Contains(talk, "(alice)") || !accepts(old) {
		t.Errorf("unasked: exit %d, %q", code, talk)
	}
	lines(t, command(t, dir, "secret", "--retire", secret, "--yes"))
	eventually(t, "the old one holds no more", func() bool { return accepts(young) && !accepts(old) })
}

// connect takes its key from a pipe, too.
func TestConnectTakesAKeyFromStandardInput(t *testing.T) {
	ollama := httptest.NewServer(standin.New(standin.Options{}))
	t.Cleanup(ollama.Close)
	dir, secret := t.TempDir(), makeSecret(t)
	s := start(t, command(t, dir, serveArgs("--upstream", ollama.URL, "--secret-file", secret)...))
	key := lines(t, command(t, dir, "mint", "--secret-file", secret))[0]
	cmd := command(t, dir, "connect", "--listen", "127.0.0.1:0", "--key-file", "-", s.address)
	cmd.Stdin = strings.NewReader(key + "\n")
	c := start(t, cmd)
	if code, body := get(t, c.address+"/api/tags", ""); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
}

func TestVersion(t *testing.T) {
	command1, _, code1 := run(t, command(t, t.TempDir(), "version"))
	flag, _, code2 := run(t, command(t, t.TempDir(), "--version"))
	if code1 != 0 || code2 != 0 || command1 != flag || !strings.HasPrefix(flag, "ollama-proxy version ") {
		t.Errorf("%q, %q", command1, flag)
	}
}

func TestServeSaysWhatItNeedsWhereNoSecretCanBeMade(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	if err := os.Symlink("nowhere", home); err != nil { // a directory could be written by root
		t.Fatal(err)
	}
	out, talk, code := run(t, command(t, home, serveArgs()...))
	if code != 1 || out != "" || !strings.Contains(talk, "--secret-file") || strings.Count(talk, "\n") != 1 {
		t.Errorf("exit %d, %q, %q", code, out, talk)
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	s := start(t, command(t, t.TempDir(), serveArgs("--demo", "--shutdown-grace", "1h")...))
	key := firstKey(s)
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

// TestOllamasFromAFileAreFollowed, while OLLAMA_HOST means somewhere else; a list
// that is not right changes nothing.
func TestOllamasFromAFileAreFollowed(t *testing.T) {
	one, two := httptest.NewServer(standin.New(standin.Options{Models: []string{"tiny"}})), httptest.NewServer(standin.New(standin.Options{Models: []string{"other:1b"}}))
	defer one.Close()
	defer two.Close()
	dir := t.TempDir()
	list, secret := filepath.Join(dir, "ollamas"), makeSecret(t)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("gpu1=" + one.URL + ",weight=2 # the large one\n")
	cmd := command(t, dir, serveArgs("--upstreams-file", list, "--secret-file", secret, "--reload-interval", "1h")...)
	cmd.Env = append(cmd.Env, "OLLAMA_HOST=127.0.0.1:1")
	s := start(t, cmd)
	key := lines(t, command(t, dir, "mint", "--secret-file", secret))[0]
	models := func() string { _, text := get(t, s.address+"/v1/models", key); return text }
	if text := models(); !strings.Contains(text, "tiny") || strings.Contains(text, "other") {
		t.Errorf("%s", text)
	}
	write("gpu1=" + one.URL + "\ngpu2=" + two.URL + "\n")
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "the new one is asked, too", func() bool { return strings.Contains(models(), "tiny") && strings.Contains(models(), "other") })
	write("gpu1=" + one.URL + "\n\n=\n")
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "the gauge shows the failed reload", func() bool {
		_, text := get(t, s.metrics+"/metrics", "")
		return strings.Contains(text, `ollama_proxy_reload_success{source="upstreams"} 0`)
	})
	if text := models(); !strings.Contains(text, "other") {
		t.Errorf("a bad list was taken in: %s", text)
	}
	write("gpu2=" + two.URL + "\n")
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "the old one is left", func() bool { return !strings.Contains(models(), "tiny") })
	s.Process.Signal(syscall.SIGTERM)
	if log := s.log(); !strings.Contains(log, list+": line 3: ") {
		t.Errorf("logged:\n%s", log)
	}
}

// TestSIGHUPWhileItStarts only means that there may be news: it must not be what
// it is to a process that does not know of it.
func TestSIGHUPWhileItStarts(t *testing.T) {
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	list := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-answer
	}))
	t.Cleanup(list.Close)
	cmd := command(t, t.TempDir(), serveArgs("--upstream", "127.0.0.1:1", "--secret-file", makeSecret(t), "--revocations", list.URL, "--reload-interval", "1h")...)
	talk, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	<-asked
	cmd.Process.Signal(syscall.SIGHUP)
	close(answer)
	serves := false
	for lines := bufio.NewScanner(talk); !serves && lines.Scan(); {
		serves = servingLine.MatchString(lines.Text())
	}
	if !serves {
		t.Fatalf("it does not serve: %v", cmd.Wait())
	}
	<-asked // the list is loaded again
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

// printed is what the server has printed so far.
func (s *process) printed() string {
	text, _ := os.ReadFile(s.stdout)
	return string(text)
}

// firstKey is the key that the server has printed.
func firstKey(s *process) string {
	return regexp.MustCompile(`OLLAMA-\S+\.[\w-]{43}`).FindString(s.printed())
}

// lines runs a command that must succeed, and returns what it prints.
func lines(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	out, talk, code := run(t, cmd)
	if code != 0 {
		t.Fatalf("%v: exit %d, %s", cmd.Args[1:], code, talk)
	}
	return strings.Fields(out)
}

// eventually waits until what it asks for is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !so(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestCaveatFlags(t *testing.T) {
	path := makeSecret(t)
	key := lines(t, command(t, t.TempDir(), "mint", "--secret-file", path, "--label", "alice", "--models", "llama3.2,qwen3:*", "--routes", "chat",
		"--from", "10.0.0.0/8", "--streams", "2", "--rpm", "60", "--expires-at", "2099-01-01T00:00:00Z"))[0]
	narrower := lines(t, command(t, t.TempDir(), "restrict", "--expires-in", "1h", "--rpm", "6", key))[0]
	out, talk, code := run(t, command(t, t.TempDir(), "inspect", "--secret-file", path, narrower))
	for _, want := range []string{
		"label: alice", "only models: llama3.2, qwen3:*", "only routes: chat", "only from: 10.0.0.0/8", "at most: 2 requests at once",
		"at most: 60 requests a minute", "at most: 6 requests a minute", "until: 2099-01-01T00:00:00Z", "verdict: valid",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("exit %d: no %q in\n%s%s", code, want, out, talk)
		}
	}
	for _, row := range []struct{ args, want string }{
		{"mint --expires-in yesterday", "--expires-in: \"yesterday\" is no duration"},
		{"mint --expires-in -1h", "--expires-in: \"-1h\" is no duration"},
		{"mint --expires-at tomorrow", "--expires-at: \"tomorrow\" is no moment"},
		{"mint --models a,,b", "--models: not model names"},
		{"mint --routes chat,all", "--routes: not among chat"},
		{"mint --from localhost", "--from: not networks"},
		{"mint --streams many", "--streams: not a whole number"},
		{"mint --rpm 0", "--rpm: not a whole number"},
		{"restrict " + key, "no restriction given"},
		{"restrict --rpm 1 OLLAMA-x", "malformed key"},
		{"restrict " + key + " --rpm 1", "--rpm comes too late"},
	} {
		cmd := command(t, t.TempDir(), strings.Fields(row.args)...)
		cmd.Env = append(cmd.Env, "OLLAMA_PROXY_SECRET_FILE="+path)
		out, talk, code := run(t, cmd)
		if code != 1 || !strings.Contains(talk, row.want) || strings.Count(talk, "\n") != 1 || out != "" {
			t.Errorf("%s: exit %d, %q, %q on stderr", row.args, code, out, talk)
		}
		if strings.Contains(talk, key[len(key)-43:]) {
			t.Errorf("%s: the key comes out", row.args)
		}
	}
}

// stream opens a stream and reads its first line; the stand-in sends no third.
func stream(t *testing.T, s *process, key string) *bufio.Reader {
	t.Helper()
	res := handlertest.Do(t.Context(), t, http.MethodPost, s.address+"/api/generate", key, `{"model":"hang-mid","prompt":"x"}`)
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %s, %v", res.StatusCode, line, err)
	}
	return lines
}

func TestRevokeCutsRunningStreams(t *testing.T) {
	ollama := httptest.NewServer(standin.New(standin.Options{}))
	t.Cleanup(ollama.Close)
	dir, secret := t.TempDir(), makeSecret(t)
	list := filepath.Join(dir, "revocations")
	if err := os.WriteFile(list, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	keys := lines(t, command(t, dir, "mint", "--secret-file", secret, "--count", "2"))
	child := lines(t, command(t, dir, "restrict", "--no-id", "--label", "guest", keys[0]))[0]
	s := start(t, command(t, dir, serveArgs("--upstream", ollama.URL, "--secret-file", secret, "--revocations", list, "--reload-interval", "20ms")...))

	spared := stream(t, s, keys[1])
	running := map[string]*bufio.Reader{"the key": stream(t, s, keys[0]), "a key made from it": stream(t, s, child)}
	lines(t, command(t, dir, "revoke", "--revocations", list, "--reason", "laptop lost", child))
	for name, lines := range running {
		rest, err := io.ReadAll(lines)
		if err == nil || !strings.Contains(string(rest), "the API key has been revoked") {
			t.Errorf("%s: the stream ends with %q, %v", name, rest, err)
		}
	}
	for key, want := range map[string]int{keys[0]: http.StatusUnauthorized, child: http.StatusUnauthorized, keys[1]: http.StatusOK} {
		if code, _ := get(t, s.address+"/v1/models", key); code != want {
			t.Errorf("after revoke: %d, not %d", code, want)
		}
	}
	if _, _, code := run(t, command(t, dir, "inspect", "--secret-file", secret, "--revocations", list, keys[0])); code != 1 {
		t.Errorf("inspect of a revoked key: exit %d", code)
	}

	// A list that has lost entries is taken for a broken one.
	if err := os.WriteFile(list, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gauge shows the failed reload", func() bool {
		_, text := get(t, s.metrics+"/metrics", "")
		return strings.Contains(text, `ollama_proxy_reload_success{source="revocations"} 0`)
	})
	if code, _ := get(t, s.address+"/v1/models", keys[0]); code != http.StatusUnauthorized {
		t.Errorf("the list was emptied: %d", code)
	}
	s.Process.Signal(syscall.SIGHUP)
	eventually(t, "SIGHUP makes it good", func() bool {
		code, _ := get(t, s.address+"/v1/models", keys[0])
		return code == http.StatusOK
	})

	// The stream of the other key has seen nothing of all that.
	lines(t, command(t, dir, "revoke", "--revocations", list, "--before", "now"))
	if rest, err := io.ReadAll(spared); err == nil || !strings.Contains(string(rest), "the API key has been revoked") {
		t.Errorf("revoke --before now: %q, %v", rest, err)
	}
	s.Process.Signal(syscall.SIGTERM)
	if log := s.log(); strings.Contains(log, keys[0][len(keys[0])-43:]) || !strings.Contains(log, "outcome=revoked") {
		t.Errorf("logged:\n%s", log)
	}
}

// TestRevokeDuringTheDrain: what still runs is no less revoked, however long the
// drain may take.
func TestRevokeDuringTheDrain(t *testing.T) {
	ollama := httptest.NewServer(standin.New(standin.Options{}))
	t.Cleanup(ollama.Close)
	dir, secret := t.TempDir(), makeSecret(t)
	for _, long := range []string{"--drain-delay", "--shutdown-grace"} {
		list := filepath.Join(t.TempDir(), "revocations")
		if err := os.WriteFile(list, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		key := lines(t, command(t, dir, "mint", "--secret-file", secret))[0]
		s := start(t, command(t, dir, serveArgs("--upstream", ollama.URL, "--secret-file", secret, "--revocations", list, "--reload-interval", "20ms", long, "1h")...))
		running := stream(t, s, key)
		s.Process.Signal(syscall.SIGTERM)
		for code := 0; code != http.StatusServiceUnavailable; {
			code, _ = get(t, s.metrics+"/readyz", "")
		}
		lines(t, command(t, dir, "revoke", "--revocations", list, key))
		if rest, err := io.ReadAll(running); err == nil || !strings.Contains(string(rest), "the API key has been revoked") {
			t.Errorf("during a long %s: the stream ends with %q, %v", long, rest, err)
		}
	}
}

func TestRotation(t *testing.T) {
	dir, older, newer := t.TempDir(), makeSecret(t), makeSecret(t)
	a, _ := os.ReadFile(older)
	b, _ := os.ReadFile(newer)
	secret := filepath.Join(dir, "secret")
	replace := func(content []byte) {
		next := secret + ".next"
		if err := errors.Join(os.WriteFile(next, content, 0o600), os.Rename(next, secret)); err != nil {
			t.Fatal(err)
		}
	}
	replace(a)
	s := start(t, command(t, dir, serveArgs("--upstream", "127.0.0.1:1", "--secret-file", secret, "--reload-interval", "20ms")...))
	old := lines(t, command(t, dir, "mint", "--secret-file", older))[0]
	young := lines(t, command(t, dir, "mint", "--secret-file", newer))[0]
	accepts := func(key string) bool {
		code, _ := get(t, s.address+"/v1/models", key)
		return code == http.StatusBadGateway
	}
	if !accepts(old) || accepts(young) {
		t.Error("the first secret does not hold")
	}
	replace(append(append([]byte("# new\n"), b...), a...))
	eventually(t, "both secrets hold", func() bool { return accepts(young) && accepts(old) })
	replace([]byte("too short\n"))
	eventually(t, "the gauge shows the failed reload", func() bool {
		_, text := get(t, s.metrics+"/metrics", "")
		return strings.Contains(text, `ollama_proxy_reload_success{source="secrets"} 0`)
	})
	if !accepts(old) || !accepts(young) {
		t.Error("a bad secret file put the good secrets out of force")
	}
	replace(b)
	eventually(t, "the old secret holds no more", func() bool { return accepts(young) && !accepts(old) })
	s.Process.Signal(syscall.SIGTERM)
	log := s.log()
	for _, secret := range [][]byte{a, b} {
		if strings.Contains(log, strings.TrimSpace(string(secret))) {
			t.Errorf("a secret is in the log:\n%s", log)
		}
	}
}

func TestConnect(t *testing.T) {
	ollama := httptest.NewServer(standin.New(standin.Options{}))
	t.Cleanup(ollama.Close)
	dir, secret := t.TempDir(), makeSecret(t)
	key := lines(t, command(t, dir, "mint", "--secret-file", secret))[0]
	file := filepath.Join(dir, "key")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, command(t, dir, serveArgs("--upstream", ollama.URL, "--secret-file", secret)...))
	local := start(t, command(t, dir, "connect", "--listen", "127.0.0.1:0", "--key-file", file, s.address))
	if code, body := get(t, local.address+"/api/tags", ""); code != http.StatusOK || !strings.Contains(body, "llama3.2") {
		t.Errorf("without a key: %d %s", code, body)
	}
	local.Process.Signal(syscall.SIGTERM)
	log := local.log()
	if err := local.Wait(); err != nil || strings.Contains(log, key[len(key)-43:]) {
		t.Errorf("%v, logged:\n%s", err, log)
	}

	for _, row := range []struct{ args, want string }{
		{"connect", "no URL given"},
		{"connect http://gpu.example.com --insecure", "--insecure comes too late"},
		{"connect --key-file " + file + " http://gpu.example.com", "--insecure"},
		{"connect --key-file " + file + " --listen 0.0.0.0:0 https://gpu.example.com", "--listen: "},
		{"connect --key-file " + file + " --listen 0.0.0.0:0 https://gpu.example.com", "--share-key"},
		{"connect --key-file " + file + " --upstream big https://gpu.example.com", "ADMIN key"},
		{"connect https://gpu.example.com", "OLLAMA_PROXY_KEY"},
		{"connect --key-file " + secret + " https://gpu.example.com", "key"},
	} {
		_, talk, code := run(t, command(t, dir, strings.Fields(row.args)...))
		if code != 1 || !strings.Contains(talk, row.want) || strings.Count(talk, "\n") != 1 {
			t.Errorf("%s: exit %d, %q", row.args, code, talk)
		}
	}
}

// Growing the table would make all others wait, see handler/descriptor_table.go.
func TestTheDescriptorTableHasItsSizeFromTheStart(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems show no table")
	}
	ollama := httptest.NewServer(standin.New(standin.Options{}))
	defer ollama.CloseClientConnections() // streams that hang
	dir, secret := t.TempDir(), makeSecret(t)
	file := filepath.Join(dir, "key")
	key := lines(t, command(t, dir, "mint", "--secret-file", secret))[0]
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := []string{"--secret-file", secret, "--upstream", ollama.URL}
	for _, row := range []struct {
		name        string
		args        []string
		connections int // of clients, each of which has one to Ollama
		others      int // connections that other Ollamas may keep
	}{
		{"one Ollama", one, 10_000, 0},
		{"two Ollamas", append(one, "--upstream", "http://127.0.0.1:1"), 10_000, 1024},
		{"few clients", append(one, "--max-connections", "400"), 400, 0},
		{"a demo", []string{"--demo"}, 10_000, 0},
		{"connect", nil, 10_000, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			var s *process
			switch {
			case row.args != nil:
				s = start(t, command(t, dir, serveArgs(row.args...)...))
			default:
				remote := start(t, command(t, dir, serveArgs(one...)...))
				s = start(t, command(t, dir, "connect", "--listen", "127.0.0.1:0", "--key-file", file, remote.address))
			}
			key := key
			if row.name == "a demo" {
				key = firstKey(s)
			}
			get(t, s.address+"/", key) // whoever answers has the table
			limit := inProc(t, s, "limits", `\nMax open files +(\d+)`)
			size, most := inProc(t, s, "status", tableSize), min(limit, 2*row.connections+row.others)
			if size < most || size > 2*most+1024 {
				t.Errorf("%d places, where %d descriptors may be open", size, most)
			}
			for range min(150, most/4) {
				stream(t, s, key)
			}
			if grown := inProc(t, s, "status", tableSize); grown != size {
				t.Errorf("%d places, and %d with streams", size, grown)
			}
		})
	}
}

// tableSize finds how many places a process's table of descriptors has.
const tableSize = `\nFDSize:\s+(\d+)`

// inProc finds a number in one of the files that the kernel has about a server.
func inProc(t *testing.T, s *process, file, pattern string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.Process.Pid, file))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(pattern).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in\n%s", pattern, text)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRevoke(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "revocations")
	key := lines(t, command(t, dir, "mint", "--secret-file", makeSecret(t)))[0]
	for range 2 {
		lines(t, command(t, dir, "revoke", "--create", "--revocations", list, "--reason", "lost", key))
	}
	content, err := os.ReadFile(list)
	if err != nil || strings.Count(string(content), "lost") != 1 || strings.Contains(string(content), key[len(key)-43:]) {
		t.Errorf("%v, the list reads:\n%s", err, content)
	}
	for _, row := range []struct{ args, want string }{
		{"revoke " + key, "--revocations FILE"},
		{"revoke --revocations " + list, "no KEY, UUID or LABEL given"},
		{"revoke --revocations " + list + " hello", "there is no ledger"},
		{"revoke --revocations " + list + " OLLAMA-x", "neither a whole key nor a UUID"},
		{"revoke --revocations " + list + " " + key + " --reason x", "--reason comes too late"},
		{"revoke --revocations " + list + " --before yesterday", "--before: \"yesterday\""},
		{"revoke --revocations " + dir + " " + key, "not a regular file"},
		{"serve --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --revocations " + dir + "/none", "no such file"},
	} {
		_, talk, code := run(t, command(t, dir, strings.Fields(row.args)...))
		if code != 1 || !strings.Contains(talk, row.want) || strings.Count(talk, "\n") != 1 || strings.Contains(talk, key[len(key)-43:]) {
			t.Errorf("%s: exit %d, %q", row.args, code, talk)
		}
	}
	if again, _ := os.ReadFile(list); !bytes.Equal(again, content) {
		t.Errorf("the list reads now:\n%s", again)
	}
}

// TestASecretNeverShows plants a secret, does what makes a proxy talk, and
// searches everything it said: also the dump of a crash.
func TestASecretNeverShows(t *testing.T) {
	const planted = "planted-secret-0123456789-abcdefghij"
	dir := t.TempDir()
	file, list := filepath.Join(dir, "secret"), filepath.Join(dir, "revocations")
	if err := errors.Join(os.WriteFile(file, []byte(planted+"\n"), 0o644), os.WriteFile(list, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	secrets, _, err := signer.ReadSecrets(file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signer.Mint(secrets[0], false)
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"a file": "OLLAMA_PROXY_SECRET_FILE=" + file, "the environment": "OLLAMA_PROXY_SECRET=" + planted} {
		cmd := command(t, dir, serveArgs("--upstream", "127.0.0.1:1", "--revocations", list, "--reload-interval", "10ms", "--log-level", "debug")...)
		cmd.Env = append(cmd.Env, from)
		s := start(t, cmd)
		var said strings.Builder
		for _, path := range []string{"/api/tags", "/api/me", "/v1/models/x"} {
			for _, k := range []string{key, "", planted} {
				_, body := get(t, s.address+path, k)
				said.WriteString(body)
			}
		}
		if name == "a file" {
			if err := os.WriteFile(file, []byte(planted[:20]), 0o644); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the bad file is noticed", func() bool {
				_, text := get(t, s.metrics+"/metrics", "")
				return strings.Contains(text, `reload_success{source="secrets"} 0`)
			})
			if err := os.WriteFile(file, []byte(planted+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, path := range []string{"/metrics", "/status", "/"} {
			_, text := get(t, s.metrics+path, "")
			said.WriteString(text)
		}
		s.Process.Signal(syscall.SIGQUIT)
		log := s.log()
		if !strings.Contains(log, "goroutine ") {
			t.Errorf("from %s: no crash dump", name)
		}
		for _, leak := range []string{planted, planted[:20], key[len(key)-43:]} {
			if strings.Contains(said.String()+log+s.printed(), leak) {
				t.Errorf("from %s: %q came out", name, leak)
			}
		}
	}
	if err := os.WriteFile(file, []byte(planted+"\n"+planted+"-older\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ledger := filepath.Join(dir, "ledger")
	for _, args := range [][]string{
		{"mint"}, {"mint", "--json", "--admin"}, {"inspect", key}, {"inspect", "--json", key}, {"restrict", "--rpm", "1", key}, {"secret", "--out", file}, {"mint", "--help"},
		{"mint", "--ledger", ledger, "--label", "alice"}, {"mint", "--ledger", file}, {"restrict", "--rpm", "1", "--ledger", ledger, key}, {"keys", "--ledger", ledger}, {"keys", "--ledger", file},
		{"keys", "--json", "--ledger", ledger, "-"}, {"revoke", "--revocations", list, "--ledger", ledger, "alice"}, {"revoke", "--revocations", list, "--ledger", file, "alice"}, {"revoke", "--revocations", file, key},
		{"secret", "--retire", file}, {"secret", "--rotate", file}, {"secret", "--retire", file, "--yes"}, {"secret", "--rotate", dir}, {"version"},
	} {
		cmd := command(t, dir, args...)
		cmd.Env = append(cmd.Env, "OLLAMA_PROXY_SECRET="+planted)
		out, talk, _ := run(t, cmd)
		noted, _ := os.ReadFile(ledger)
		if strings.Contains(out+talk+string(noted), "planted") || strings.Contains(talk+string(noted), key[len(key)-43:]) {
			t.Errorf("%v: the secret came out", args)
		}
	}
}

// TestWhatThereIsToSee: the page's numbers are those of the metrics, and top shows
// them, too.
func TestWhatThereIsToSee(t *testing.T) {
	ollama := httptest.NewServer(standin.New(standin.Options{}))
	t.Cleanup(ollama.Close)
	dir, secret := t.TempDir(), makeSecret(t)
	list := filepath.Join(dir, "revocations")
	if err := os.WriteFile(list, []byte("0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, command(t, dir, serveArgs("--upstream", ollama.URL, "--secret-file", secret, "--revocations", list, "--metrics-per-key")...))
	out, _, code := run(t, command(t, dir, "mint", "--secret-file", secret, "--label", "alice"))
	if code != 0 {
		t.Fatal("no key")
	}
	key := strings.TrimSpace(out)
	get(t, s.address+"/api/tags", key)
	get(t, s.address+"/api/tags", "OLLAMA-nonsense")
	get(t, s.address+"/v1/models/llama3.2", key)
	var st status.Status
	eventually(t, "it shows", func() bool {
		_, text := get(t, s.metrics+"/status", "")
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		st = status.Status{}
		if err := d.Decode(&st); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return len(st.Keys) == 1 && len(st.Models) == 1 && st.Hour.Requests[0] == 3 && len(st.Upstreams) == 1 && st.Upstreams[0].Up && len(st.Reloads) == 2
	})
	if k := st.Keys[0]; k.Key != "alice" || k.ID != key[len("OLLAMA-"):len("OLLAMA-")+36] || k.Requests != 2 || k.Bytes == 0 || !st.KeysCounted {
		t.Errorf("keys: %+v", k)
	}
	if m := st.Models[0]; m.Model != "llama3.2:latest" || m.Bytes == 0 {
		t.Errorf("models: %+v", m)
	}
	if st.Hour.Reasons["malformed"] != 1 || st.Hour.Refused[0] != 1 || st.Hour.Bytes[0] == 0 {
		t.Errorf("the hour: %+v", st.Hour)
	}
	_, text := get(t, s.metrics+"/metrics", "")
	for name, hash := range map[string]string{"revocations_hash": st.RevocationsHash, "secret_fingerprint": st.SecretFingerprint} {
		n, err := strconv.ParseUint(hash, 16, 64)
		if err != nil || n == 0 || !strings.Contains(text, fmt.Sprintf("ollama_proxy_%s %v\n", name, float64(n))) {
			t.Errorf("%s is shown as %s, and counted otherwise", name, hash)
		}
	}
	if st.Revocations != 1 || !st.Reloads[0].OK || st.Reloads[0].Source != "revocations" || time.Since(st.Reloads[0].At) > time.Hour {
		t.Errorf("%d revoked; reloads %+v", st.Revocations, st.Reloads)
	}
	out, talk, code := run(t, command(t, dir, "top", "--once", "--metrics-listen", strings.TrimPrefix(s.metrics, "http://")))
	if code != 0 || talk != "" || !strings.Contains(out, "\nalice ") || !strings.Contains(out, "\nRefused     1: malformed 1\n") || strings.Contains(out, "\x1b") {
		t.Errorf("top: exit %d, %q on stderr:\n%s", code, talk, out)
	}
}

// TestALabelIsNoProofOfWhoseKeyItIs: the holder of a key without one calls it alice.
// Wherever that label shows, the id shows beside it, and what is counted for alice is
// hers.
func TestALabelIsNoProofOfWhoseKeyItIs(t *testing.T) {
	ollama := httptest.NewServer(standin.New(standin.Options{}))
	t.Cleanup(ollama.Close)
	dir, secret := t.TempDir(), makeSecret(t)
	s := start(t, command(t, dir, serveArgs("--upstream", ollama.URL, "--secret-file", secret, "--metrics-per-key")...))
	alice := lines(t, command(t, dir, "mint", "--secret-file", secret, "--label", "alice"))[0]
	mallory := lines(t, command(t, dir, "restrict", "--no-id", "--label", "alice", lines(t, command(t, dir, "mint", "--secret-file", secret))[0]))[0]
	out, talk, _ := run(t, command(t, dir, "restrict", "--no-id", "--label", "bob", alice))
	sure := strings.TrimSpace(out) // she is alice all the same
	if words, _, _ := run(t, command(t, dir, "inspect", "--secret-file", secret, sure)); !strings.Contains(talk, `stays "alice"`) || !strings.Contains(words, "label: bob (but the first one counts)") {
		t.Errorf("restrict lets believe that alice is bob now: %q; inspect: %s", talk, words)
	}
	for n, key := range []string{alice, mallory, mallory, mallory, sure} {
		if status, body := get(t, s.address+"/api/tags", key); status != http.StatusOK {
			t.Fatalf("request %d: %d, %s", n, status, body)
		}
	}
	var metrics, status string
	eventually(t, "all are counted", func() bool {
		_, metrics = get(t, s.metrics+"/metrics", "")
		_, status = get(t, s.metrics+"/status", "")
		return strings.Contains(status, `"requests":[5]`)
	})
	top, _, _ := run(t, command(t, dir, "top", "--once", "--metrics-listen", strings.TrimPrefix(s.metrics, "http://")))
	s.Process.Signal(syscall.SIGTERM)
	log := s.log()
	for key, n := range map[string]int{alice: 2, mallory: 3} {
		id := key[len("OLLAMA-") : len("OLLAMA-")+36]
		for what, want := range map[string]struct{ text, part string }{
			"/metrics": {metrics, fmt.Sprintf("key_requests_total{id=%q,key=\"alice\"} %d\n", id, n)},
			"/status":  {status, fmt.Sprintf(`{"key":"alice","id":%q,"requests":%d,`, id, n)},
			"top":      {strings.Join(strings.Fields(top), " "), fmt.Sprintf("alice %s %d ", id, n)},
			"the log":  {log, "key=" + id + " label=alice "},
		} {
			if !strings.Contains(want.text, want.part) {
				t.Errorf("%s has no %q:\n%s", what, want.part, want.text)
			}
		}
	}
	for what, text := range map[string]string{"/metrics": metrics, "/status": status, "top": top, "the log": log} {
		if strings.Contains(text, "bob") {
			t.Errorf("%s takes a holder's label for the one that was minted:\n%s", what, text)
		}
	}
}

// TestNoAnswerIsLogged has an Ollama that sends more than it announced, which
// net/http would quote on standard error.
func TestNoAnswerIsLogged(t *testing.T) {
	ollama, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ollama.Close() })
	go func() {
		for {
			c, err := ollama.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				http.ReadRequest(bufio.NewReader(c))
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nthe answer goes on")
				io.Copy(io.Discard, c)
			}()
		}
	}()
	s := start(t, command(t, t.TempDir(), serveArgs("--upstream", ollama.Addr().String(), "--log-level", "debug")...))
	for range 3 {
		if code, _ := get(t, s.address+"/api/version", firstKey(s)); code != http.StatusOK {
			t.Errorf("status %d", code)
		}
	}
	s.Process.Signal(syscall.SIGTERM)
	if log := s.log(); strings.Contains(log, "goes on") || !strings.Contains(log, "msg=request") {
		t.Errorf("logged:\n%s", log)
	}
}

// TestSeriesAreBounded throws at the proxy whatever a client could choose, and
// then as much again: no new series may come of it.
func TestSeriesAreBounded(t *testing.T) {
	ollama := httptest.NewServer(standin.New(standin.Options{}))
	t.Cleanup(ollama.Close)
	dir, secret := t.TempDir(), makeSecret(t)
	s := start(t, command(t, dir, serveArgs("--upstream", ollama.URL, "--secret-file", secret, "--metrics-per-key",
		"--reload-interval", "20ms")...)) // a reload makes series, too
	found, err := signer.FindSecrets(secret)
	if err != nil {
		t.Fatal(err)
	}
	holder, err := signer.Mint(found.Secrets[0], false)
	if err != nil {
		t.Fatal(err)
	}
	const round = 500
	throw := func(from int) {
		var all sync.WaitGroup
		defer all.Wait()
		for part := range 4 {
			all.Go(func() {
				for n := from + part; n < from+round; n += 4 {
					minted, err := signer.Mint(found.Secrets[0], n%2 == 0)
					if err != nil {
						t.Error(err)
						return
					}
					labelled, err := signer.NewCaveat("label", fmt.Sprint("label ", n))
					if err != nil {
						t.Error(err)
						return
					}
					narrowed, err := signer.Restrict(holder, labelled)
					if err != nil {
						t.Error(err)
						return
					}
					for i, r := range []struct{ method, path, key string }{
						{"POST", "/api/chat", minted},
						{"POST", "/v1/chat/completions", narrowed},
						{fmt.Sprint("PLANT", n), "/api/chat", minted},
						{"GET", fmt.Sprint("/planted/", n), narrowed},
						{"GET", fmt.Sprint("/v1/models/planted", n), minted},
						{"POST", "/api/embed", fmt.Sprint("OLLAMA-planted", n)},
					} {
						model := fmt.Sprint("planted", n)
						if n%5 == 0 {
							model = "tiny"
						}
						body := fmt.Sprintf(`{"model": %q, "input": "x", "messages": [{"role": "user", "content": "x"}]}`, model)
						req, err := http.NewRequest(r.method, s.address+r.path, strings.NewReader(body))
						if err != nil {
							t.Error(err)
							return
						}
						req.Header.Set("Authorization", "Bearer "+r.key)
						req.Header.Set("User-Agent", fmt.Sprint("planted", n))
						res, err := http.DefaultClient.Do(req)
						if err != nil {
							t.Errorf("request %d: %v", i, err)
							return
						}
						io.Copy(io.Discard, res.Body)
						res.Body.Close()
					}
				}
			})
		}
	}
	series := func() map[string]bool {
		_, text := get(t, s.metrics+"/metrics", "")
		names := map[string]bool{}
		for line := range strings.Lines(text) {
			if name, _, ok := strings.Cut(line, " "); ok && strings.HasPrefix(line, "ollama_proxy_") && !strings.HasPrefix(line, "ollama_proxy_key_") {
				labels := line[:strings.LastIndex(line, " ")]
				names[labels] = true
				if strings.Contains(labels, "planted") || strings.Contains(labels, "PLANT") {
					t.Errorf("a client has chosen a label: %s", name)
				}
			}
		}
		return names
	}
	keys := func() int {
		_, text := get(t, s.metrics+"/metrics", "")
		return strings.Count(text, "\nollama_proxy_key_requests_total{")
	}
	throw(0)
	before, some := series(), keys()
	throw(round)
	after, all := series(), keys()
	for name := range after {
		if !before[name] {
			t.Errorf("a new series: %s", name)
		}
	}
	if len(before) < 300 {
		t.Errorf("%d series: there is nothing to see", len(before))
	}
	// 16 labels of the one that was narrowed, its id, and one for each that
	// was minted, up to 1,000; the others share one.
	if some != round+16+1+1 || all != 1000+1 {
		t.Errorf("%d keys have series, and then %d", some, all)
	}
}

// TestKeysInTheClear: who can be reached from elsewhere without TLS is told.
func TestKeysInTheClear(t *testing.T) {
	dir := t.TempDir()
	for listen, warned := range map[string]bool{"127.0.0.1:0": false, "localhost:0": false, "0.0.0.0:0": true, ":0": true} {
		s := start(t, command(t, dir, "serve", "--demo", "--metrics-listen", "127.0.0.1:0", "--listen", listen))
		get(t, s.metrics+"/readyz", "") // it heeds signals by now
		s.Process.Signal(syscall.SIGTERM)
		if log := s.log(); strings.Contains(log, "level=WARN msg=\"keys and prompts travel in the clear") != warned {
			t.Errorf("%s: %s", listen, log)
		}
	}
}

// TestTheLogSaysWhyAStreamWasCut has streams end in each way there is, and
// reads the log as a machine does.
func TestTheLogSaysWhyAStreamWasCut(t *testing.T) {
	ollama := httptest.NewServer(standin.New(standin.Options{}))
	t.Cleanup(ollama.Close)
	dir, secret := t.TempDir(), makeSecret(t)
	list := filepath.Join(dir, "revocations")
	if err := os.WriteFile(list, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(secret, 0o644); err != nil { // for a line of warning
		t.Fatal(err)
	}
	keys := lines(t, command(t, dir, "mint", "--secret-file", secret, "--count", "2", "--label", `a "quoted" {label}`))
	s := start(t, command(t, dir, serveArgs("--upstream", ollama.URL, "--secret-file", secret, "--revocations", list, "--reload-interval", "20ms",
		"--log-format", "json", "--stall-timeout", "1s", "--shutdown-grace", "10ms")...))

	whole := func(key, body string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, s.address+"/api/generate", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	whole(keys[0], `{"model":"tiny","prompt":"x"}`)
	whole("nobody's", `{"model":"tiny","prompt":"x"}`)
	whole(keys[0], `{"model":"dies-between","prompt":"x"}`)
	io.ReadAll(stream(t, s, keys[0])) // until it stalls
	cut := stream(t, s, keys[1])
	lines(t, command(t, dir, "revoke", "--revocations", list, keys[1]))
	io.ReadAll(cut)
	last := stream(t, s, keys[0])
	s.Process.Signal(syscall.SIGTERM)
	io.ReadAll(last)

	outcomes := map[string]int{}
	for line := range strings.Lines(s.log()) {
		var entry struct {
			Time                    time.Time
			Level, Msg              string
			Request, Label, Outcome string
			Route, Method           string
			Status, Bytes           int
			Duration                float64 `json:"duration_seconds"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Time.IsZero() || entry.Level == "" || entry.Msg == "" {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if entry.Msg != "request" {
			continue
		}
		outcomes[fmt.Sprint(entry.Outcome, " ", entry.Status)]++
		if entry.Request == "" || entry.Route != "/api/generate" || entry.Method != "POST" || entry.Duration <= 0 {
			t.Errorf("%s", line)
		}
		if entry.Outcome != "refused" && (entry.Label != `a "quoted" {label}` || entry.Bytes == 0) {
			t.Errorf("%s", line)
		}
		if entry.Outcome == "upstream_error" && !strings.Contains(line, `"error":"unexpected EOF"`) {
			t.Errorf("%s", line)
		}
	}
	want := map[string]int{"complete 200": 1, "refused 401": 1, "upstream_error 502": 1, "stalled 504": 1, "revoked 401": 1, "shutdown 503": 1}
	if !maps.Equal(outcomes, want) {
		t.Errorf("%v, want %v", outcomes, want)
	}
}

// canned is an Ollama that answers at once, in this process.
type canned struct{}

func (canned) RoundTrip(r *http.Request) (*http.Response, error) {
	message := `{"model":"tiny","message":{"role":"assistant","content":"hello"},"done":true,"prompt_eval_count":3,"eval_count":5}`
	if r.URL.Path == "/api/tags" {
		message = `{"models":[{"name":"tiny:latest","model":"tiny:latest"}]}`
	}
	if r.Body != nil {
		r.Body.Close()
	}
	return &http.Response{
		StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: int64(len(message)),
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(message)),
	}, nil
}

// unheard is a client whose answers go nowhere.
type unheard http.Header

func (u unheard) Header() http.Header       { return http.Header(u) }
func (unheard) WriteHeader(int)             {}
func (unheard) Write(p []byte) (int, error) { return len(p), nil }
func (unheard) Flush()                      {}

// BenchmarkCores is for -cpu 1,2: what the proxy does for a small chat, metrics and
// all, without sockets. If nothing is shared that matters, two cores take half the
// time of one, as far as the machine's are two: of that "hash" tells.
func BenchmarkCores(b *testing.B) {
	b.Run("hash", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			block := make([]byte, 8<<10)
			for pb.Next() {
				sha256.Sum256(block)
			}
		})
	})
	secret, _ := signer.NewSecret()
	key, err := signer.Mint(secret, false)
	if err != nil {
		b.Fatal(err)
	}
	proxy := handler.New(handler.Options{
		Upstream: &url.URL{Scheme: "http", Host: "ollama"}, Transport: canned{}, Keys: signer.NewVerifier(secret), Log: slog.New(slog.DiscardHandler),
		Recorder: metrics.New(metrics.Options{
			Routes: api.RouteNames(), RefusalReasons: handler.RefusalReasons(), UpstreamErrors: upstream.Errors(),
			UpstreamChoices: upstream.Choices(), UpstreamRetries: upstream.Retries(),
		}),
	})
	b.Run("request", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r := httptest.NewRequest("POST", "/api/chat", strings.NewReader(`{"model":"tiny","stream":false,"messages":[{"role":"user","content":"hi"}]}`))
				r.Header.Set("Authorization", "Bearer "+key)
				proxy.ServeHTTP(unheard{}, r)
			}
		})
	})
}

// TestLessPowerForAReplica: a site holds a derived secret and none for ADMIN keys, and
// keys for it are made elsewhere.
func TestLessPowerForAReplica(t *testing.T) {
	home := t.TempDir()
	master, admin := makeSecret(t), makeSecret(t)
	output := func(args ...string) string {
		t.Helper()
		out, talk, code := run(t, command(t, home, args...))
		if code != 0 {
			t.Fatalf("%v: %s", args, talk)
		}
		return strings.TrimSpace(out)
	}
	site := filepath.Join(home, "site")
	derived := output("secret", "--secret-file", master, "--derive", "berlin")
	if again := output("secret", "--secret-file", master, "--derive", "berlin"); again != derived || !strings.HasPrefix(derived, signer.SecretPrefix) {
		t.Errorf("%q and %q are derived for one name", derived, again)
	}
	if err := os.WriteFile(site, []byte(derived+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, talk, code := run(t, command(t, home, "mint", "--secret-file", master, "--derive", "Berlin")); code != 1 || !strings.Contains(talk, "--derive") {
		t.Errorf("a bad name: %s", talk)
	}
	s := start(t, command(t, home, serveArgs("--secret-file", site, "--admin-secret-file", admin, "--default-rpm", "1000", "--max-key-age", "1h")...))
	none := start(t, command(t, home, serveArgs("--secret-file", site, "--admin-secret-file", "none")...))
	hers := output("mint", "--secret-file", master, "--derive", "berlin", "--label", "alice")
	manager := output("mint", "--secret-file", master, "--admin-secret-file", admin, "--admin")
	for _, row := range []struct {
		what, key string
		at        *process
		want      int
	}{
		{"derived", hers, s, 200}, {"derived", hers, none, 200}, {"of the master", output("mint", "--secret-file", master), s, 401}, {"ADMIN", manager, s, 200}, {"ADMIN, where there is none", manager, none, 401},
		{"ADMIN, of the site", output("mint", "--secret-file", site, "--admin"), s, 401}, {"ADMIN, of the site, where there is none", output("mint", "--secret-file", site, "--admin"), none, 401},
	} {
		if got, body := get(t, row.at.address+"/v1/key", row.key); got != row.want {
			t.Errorf("%s: %d %s", row.what, got, body)
		}
	}
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"--secret-file", master}, "derived=berlin"},
		{[]string{"--secret-file", master, "--admin-secret-file", admin, "--ledger", filepath.Join(filepath.Dir(admin), "minted")}, "ADMIN"},
	} {
		if out := output(append([]string{"keys"}, row.args...)...); !strings.Contains(out, "  valid  "+row.want) {
			t.Errorf("keys %v: %s", row.args, out)
		}
	}
	for _, flag := range []string{"--rotate", "--retire", "--out"} {
		if _, talk, code := run(t, command(t, home, "secret", "--secret-file", master, "--derive", "berlin", flag, site)); code != 1 || !strings.Contains(talk, flag) {
			t.Errorf("secret --derive %s: exit %d, %s", flag, code, talk)
		}
	}
	narrow := output("restrict", "--rpm", "5", hers)
	told := output("inspect", "--remote", s.address, narrow)
	for _, part := range []string{"label: alice", "at most: 5 requests a minute", "at most: 1000 requests a minute", "~"} {
		if !strings.Contains(told, part) {
			t.Errorf("there is no %q in %s", part, told)
		}
	}
	if bare := output("inspect", "--remote", s.address, output("restrict", "--no-id", "--rpm", "5", hers)); strings.Contains(bare, "~") {
		t.Errorf("with --no-id: %s", bare)
	}
	if _, talk, code := run(t, command(t, home, "inspect", "--remote", none.address, manager)); code != 1 || !strings.Contains(talk, "refuses the key") {
		t.Errorf("a key that is refused: exit %d, %s", code, talk)
	}
	if out := output("inspect", "--secret-file", site, "--admin-secret-file", admin, manager); !strings.Contains(out, "verdict: valid") {
		t.Errorf("the ADMIN key: %s", out)
	}
	for _, args := range [][]string{{"--default-rpm", "-1"}, {"--default-streams", "-1"}, {"--max-key-age", "-1s"}, {"--admin-secret-file", site}, {"--admin-secret-file", filepath.Join(home, "nothing")}} {
		if _, talk, code := run(t, command(t, home, serveArgs(append(args, "--secret-file", site)...)...)); code != 1 || strings.Count(talk, "\n") != 1 || strings.Contains(talk, derived) {
			t.Errorf("%v: exit %d, %s", args, code, talk)
		}
	}
}
