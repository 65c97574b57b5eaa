// Package check holds the files of deploy/ against each other and against what
// ollama-proxy can do, without Docker and without a cluster.
package check

import (
	"bufio"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// composeFiles are the files that have to fit together, in deploy/.
var composeFiles = []string{
	"compose.yaml", "compose.gpu.yaml", "compose.tls.yaml", "Dockerfile", "haproxy/haproxy.cfg",
	"prometheus/prometheus-compose.yaml", "prometheus/alerts.yaml",
	"grafana/provisioning/datasources/prometheus.yaml", "grafana/provisioning/dashboards/ollama-proxy.yaml",
}

// A stack is a compose project and what its services read.
type stack struct {
	*types.Project
	files    map[string]string // their text
	help     map[string]string // of each command of the real ollama-proxy
	problems []string
}

func TestCompose(t *testing.T) {
	binary := buildProxy(t)
	files, help := readFiles(t), proxyHelp(t, binary)
	for _, names := range [][]string{
		{"compose.yaml"},
		{"compose.yaml", "compose.gpu.yaml"},
		{"compose.yaml", "compose.tls.yaml"},
	} {
		for _, problem := range composeProblems(files, help, names...) {
			t.Errorf("%s: %s", strings.Join(names, " and "), problem)
		}
	}
	p, err := loadProject(files, "compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	proxyStarts(t, binary, p)
}

// Each change breaks what one of the rules is there for.
func TestComposeRulesBite(t *testing.T) {
	files, help := readFiles(t), proxyHelp(t, buildProxy(t))
	for _, c := range []struct{ file, old, new, want string }{
		{"compose.yaml", "  read_only: true\n", "", "ollama: may write to its image"},
		{"compose.yaml", "  cap_drop: [ALL]\n", "", "haproxy: keeps capabilities"},
		{"compose.yaml", "\"no-new-privileges:true\"", "", "proxy: may gain privileges"},
		{"compose.yaml", "    user: \"65532:0\"", "    privileged: true\n    user: \"65532:0\"", "grafana: is not confined"},
		{"compose.yaml", "prom/prometheus:v3.16.0", "prom/prometheus", "prometheus: image prom/prometheus is not pinned"},
		{"compose.yaml", "ollama/ollama:0.32.15", "ollama/ollama:latest", "ollama: image ollama/ollama:latest is not pinned"},
		{"compose.yaml", "dockerfile: deploy/Dockerfile", "dockerfile: Dockerfile", "proxy: there is no"},
		{"compose.yaml", "\"127.0.0.1:9090:9090\"", "\"9090:9090\"", "prometheus: is published to other machines"},
		{"compose.yaml", "\"127.0.0.1:3000:3000\"", "\"127.0.0.1:3000:3001\"", "grafana: nothing listens on 3001"},
		{"compose.yaml", "[\"8080:8080\"]", "[\"8080:8081\"]", "haproxy: nothing listens on 8081"},
		{"compose.yaml", "networks: [metrics, monitoring]", "networks: [metrics, monitoring, ollama]", "network ollama: prometheus is in it"},
		{"compose.yaml", "networks: [ollama, downloads]", "networks: [ollama, downloads, front]", "network front: haproxy is in it"},
		{"compose.yaml", "networks: [balance, ollama, metrics]", "networks: [balance, ollama, metrics, front]", "proxy: network front leads out"},
		{"compose.yaml", "networks: [metrics, monitoring]", "networks: [monitoring]", "prometheus and proxy share no network"},
		{"compose.yaml", "networks: [metrics, monitoring]", "networks: [balance, metrics, monitoring]", "network balance: the proxies trust all of haproxy, prometheus, proxy"},
		{"compose.yaml", "OLLAMA_PROXY_TRUSTED_PROXY: *subnet", "OLLAMA_PROXY_TRUSTED_PROXY: 10.0.0.0/8", "the proxies trust 10.0.0.0/8"},
		{"compose.yaml", "  ollama: {internal: true}", "  ollama: {}", "proxy: network ollama leads out"},
		{"compose.yaml", "networks: [monitoring]", "networks: [nowhere]", "undefined network nowhere"},
		{"compose.yaml", "  password:\n  grafana:\n", "  grafana:\n", "undefined volume password"},
		{"compose.yaml", "./haproxy/haproxy.cfg:", "./haproxy.cfg:", "haproxy: there is no haproxy.cfg"},
		{"compose.yaml", "haproxy.cfg:ro", "haproxy.cfg", "haproxy: may write to haproxy/haproxy.cfg"},
		{"compose.yaml", "volumes: [\"state:/etc/ollama-proxy:ro\"]\n    ulimits", "volumes: [\"state:/etc/ollama-proxy\"]\n    ulimits", "proxy: may write to the secret"},
		{"compose.yaml", "- password:/run/password:ro", "- state:/run/password:ro", "grafana: sees the secret"},
		{"compose.yaml", "stop_grace_period: 75s # more than the delay and the grace", "stop_grace_period: 30s", "proxy: is killed after 30s"},
		{"compose.yaml", "stop_grace_period: 75s # more than hard-stop-after", "stop_grace_period: 10s", "haproxy: is killed after 10s"},
		{"compose.yaml", "SHUTDOWN_GRACE: 60s", "SHUTDOWN_GRACE: 70s", "haproxy: ends streams after 1m0s, replicas after 1m10s"},
		{"haproxy/haproxy.cfg", "timeout server 20m", "timeout server 10m", "haproxy: timeout server 10m"},
		{"haproxy/haproxy.cfg", "timeout client 20m", "timeout client 5m", "haproxy: timeout client 5m"},
		{"haproxy/haproxy.cfg", "option http-no-delay", "", "haproxy: option http-no-delay is missing"},
		{"haproxy/haproxy.cfg", "option abortonclose", "", "haproxy: option abortonclose is missing"},
		{"haproxy/haproxy.cfg", "http-request set-header X-Forwarded-For %[src]", "option forwardfor", "haproxy: http-request set-header X-Forwarded-For %[src] is missing"},
		{"haproxy/haproxy.cfg", "maxconn 20000", "maxconn 40000", "haproxy: 65536 files are too few for 40000 connections"},
		{"haproxy/haproxy.cfg", " proxy:8080", " proxies:8080", "haproxy: asks proxies:8080"},
		{"haproxy/haproxy.cfg", "check port 9464", "check port 9465", "haproxy: checks port 9465"},
		{"haproxy/haproxy.cfg", "bind 127.0.0.1:8404", "bind 127.0.0.1:8405", "haproxy: its health check asks http://127.0.0.1:8404/"},
		{"prometheus/prometheus-compose.yaml", "port: 9464", "port: 8080", "prometheus: scrapes port 8080"},
		{"prometheus/prometheus-compose.yaml", "names: [proxy]", "names: [haproxy]", "prometheus: scrapes haproxy"},
		{"prometheus/prometheus-compose.yaml", "job_name: ollama-proxy", "job_name: proxy", "prometheus: no alert knows job proxy"},
		{"prometheus/prometheus-compose.yaml", "- alerts.yaml", "- rules.yaml", "prometheus: rules.yaml is not mounted"},
		{"prometheus/prometheus-compose.yaml", "scrape_interval: 15s", "scrape_interval: 1m", "grafana: timeInterval"},
		{"grafana/provisioning/datasources/prometheus.yaml", "prometheus:9090", "127.0.0.1:9090", "grafana: asks http://127.0.0.1:9090"},
		{"grafana/provisioning/dashboards/ollama-proxy.yaml", "/etc/grafana/dashboards", "/dashboards", "grafana: there are no dashboards in /dashboards"},
		{"compose.yaml", "    user: \"65532:0\"", "    user: \"472:0\"", "grafana: user 472 cannot read its password"},
		{"compose.yaml", "$$__file{/run/password/grafana}", "$$__file{/run/password/admin}", "grafana: nobody makes its password"},
		{"compose.yaml", "$$__file{/run/password/grafana}", "admin", "grafana: its password is in the file"},
		{"Dockerfile", "USER 65532:65532", "USER 65533:65533", "grafana: user 65532 cannot read its password"},
		{"Dockerfile", "OLLAMA_PROXY_LISTEN=0.0.0.0:8080", "OLLAMA_PROXY_LISTEN=0.0.0.0:80", "haproxy: asks proxy:8080"},
		{"compose.yaml", "OLLAMA_PROXY_LOG_FORMAT", "OLLAMA_PROXY_LOGFORMAT", "proxy: serve has no OLLAMA_PROXY_LOGFORMAT"},
		{"compose.yaml", "--if-missing, --out, /etc/ollama-proxy/secret", "--missing, --out, /etc/ollama-proxy/secret", "secret: secret has no --missing"},
		{"compose.yaml", "[secret, --if-missing, --out, /etc/ollama-proxy/secret]", "[secret, --if-missing, --out, /etc/ollama-proxy/key]", "proxy: nobody makes its secret"},
		{"compose.yaml", "[ollama-proxy, mint]", "[ollama-proxy, mnt]", "mint: there is no command mnt"},
		{"compose.yaml", "  restart: \"no\"\n", "", "secret: is started again and again"},
		{"compose.yaml", "  restart: unless-stopped\n", "", "ollama: is not started again"},
		{"compose.yaml", "test: [CMD, ollama, list]", "disable: true", "ollama: has no health check"},
		{"compose.yaml", "      secret: {condition: service_completed_successfully}\n      ollama:", "      secret: {condition: service_started}\n      ollama:", "proxy: does not wait for secret"},
		{"compose.yaml", "http://ollama:11434", "http://ollama:11435", "proxy: asks http://ollama:11435"},
	} {
		broken := maps.Clone(files)
		if broken[c.file] = strings.Replace(files[c.file], c.old, c.new, 1); broken[c.file] == files[c.file] {
			t.Errorf("%s: there is no %q", c.file, c.old)
			continue
		}
		if problems := composeProblems(broken, help, "compose.yaml"); !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, c.want) }) {
			t.Errorf("%s: %q instead of %q goes unnoticed; only %q", c.file, c.new, c.old, problems)
		}
	}
	tls := maps.Clone(files)
	tls["compose.tls.yaml"] = strings.Replace(tls["compose.tls.yaml"], "!override", "", 1)
	if len(composeProblems(tls, help, "compose.yaml", "compose.tls.yaml")) == 0 {
		t.Error("port 8080 stays open beside TLS")
	}
}

// composeProblems is what is wrong with the stack that the named files make.
func composeProblems(files, help map[string]string, names ...string) []string {
	s := &stack{files: files, help: help}
	var err error
	if s.Project, err = loadProject(files, names...); err != nil {
		return []string{err.Error()}
	}
	for _, rule := range composeRules {
		rule(s)
	}
	return s.problems
}

// loadProject is what docker compose makes of the files, with every profile.
func loadProject(files map[string]string, names ...string) (*types.Project, error) {
	details := types.ConfigDetails{WorkingDir: absolute(".."), Environment: types.Mapping{}}
	for _, name := range names {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: absolute("../" + name), Content: []byte(files[name])})
	}
	return loader.LoadWithContext(context.Background(), details, loader.WithProfiles([]string{"*"}))
}

// proxyStarts runs serve with the variables of the compose file: their values
// count, too.
func proxyStarts(t *testing.T, binary string, p *types.Project) {
	dir := t.TempDir()
	secret, list := filepath.Join(dir, "secret"), filepath.Join(dir, "revocations")
	if err := os.WriteFile(list, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary, "secret", "--out", secret).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--secret-file", secret, "--revocations", list)
	for name, value := range p.Services["proxy"].Environment {
		cmd.Env = append(cmd.Env, name+"="+*value)
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"msg":"serving"`) {
			return
		}
		t.Log(lines.Text())
	}
	t.Error("serve does not start with the variables of compose.yaml")
}

func buildProxy(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "ollama-proxy")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".")
	cmd.Dir = absolute("../..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return binary
}

func proxyHelp(t *testing.T, binary string) map[string]string {
	t.Helper()
	help := map[string]string{}
	for _, command := range []string{"serve", "mint", "keys", "revoke", "secret"} {
		out, err := exec.Command(binary, command, "--help").Output()
		if err != nil {
			t.Fatal(err)
		}
		help[command] = string(out)
	}
	return help
}

func readFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range composeFiles {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	return files
}

func absolute(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return path
}
