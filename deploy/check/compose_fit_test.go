package check

import (
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// haproxyFits: what makes streams flow and keys stay is there, and its ports
// and names are the others'.
func haproxyFits(s *stack) {
	for _, line := range []string{
		"option http-no-delay", "option abortonclose", "option redispatch 1", "retry-on conn-failure",
		"http-request set-header X-Forwarded-For %[src]", "balance hash var(txn.key)", "hash-type consistent",
	} {
		if s.haproxy(`(?:^|\n) *(`+regexp.QuoteMeta(line)+`)(?:\n|$)`) == "" {
			s.problem("haproxy: %s is missing", line)
		}
	}
	connections, _ := strconv.Atoi(s.haproxy(`maxconn +(\d+)`))
	if limit := s.Services["haproxy"].Ulimits["nofile"]; limit == nil || limit.Single < 2*connections+100 {
		s.problem("haproxy: %v files are too few for %d connections", limit.Single, connections)
	}
	if asks := s.haproxy(`server-template \S+ \d+ (\S+)`); asks != "proxy:"+port(s.setting("LISTEN")) {
		s.problem("haproxy: asks %s", asks)
	}
	if checks := s.haproxy(`check port (\d+)`); checks != port(s.setting("METRICS_LISTEN")) {
		s.problem("haproxy: checks port %s", checks)
	}
	if test := s.Services["haproxy"].HealthCheck.Test; !strings.HasSuffix(test[len(test)-1], "//127.0.0.1:"+s.haproxy(`bind 127.0.0.1:(\d+)`)+"/") {
		s.problem("haproxy: its health check asks %s", test[len(test)-1])
	}
	if asks := s.setting("UPSTREAM"); asks != "http://ollama:11434" {
		s.problem("proxy: asks %s", asks)
	}
}

// prometheusFits: it finds each replica, under the job that the alerts know.
func prometheusFits(s *stack) {
	var config struct {
		Global    map[string]string `yaml:"global"`
		RuleFiles []string          `yaml:"rule_files"`
		Jobs      []struct {
			Name string `yaml:"job_name"`
			DNS  []struct {
				Names []string
				Port  string
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	s.read("prometheus/prometheus-compose.yaml", &config)
	targets := map[string]string{}
	for _, v := range s.Services["prometheus"].Volumes {
		targets[v.Target] = filepath.Base(v.Source)
	}
	file := ""
	for _, word := range s.Services["prometheus"].Command {
		if after, ok := strings.CutPrefix(word, "--config.file="); ok {
			file = after
		}
	}
	if targets[file] != "prometheus-compose.yaml" {
		s.problem("prometheus: reads %s", file)
	}
	for _, rules := range config.RuleFiles {
		if targets[path.Join(path.Dir(file), rules)] != rules {
			s.problem("prometheus: %s is not mounted", rules)
		}
	}
	for _, job := range config.Jobs {
		if !strings.Contains(s.files["prometheus/alerts.yaml"], `{job="`+job.Name+`"}`) {
			s.problem("prometheus: no alert knows job %s", job.Name)
		}
		for _, names := range job.DNS {
			if !slices.Equal(names.Names, []string{"proxy"}) {
				s.problem("prometheus: scrapes %s", strings.Join(names.Names, ", "))
			}
			if names.Port != port(s.setting("METRICS_LISTEN")) {
				s.problem("prometheus: scrapes port %s", names.Port)
			}
		}
	}
	var sources struct {
		Datasources []struct {
			URL  string            `yaml:"url"`
			Data map[string]string `yaml:"jsonData"`
		}
	}
	s.read("grafana/provisioning/datasources/prometheus.yaml", &sources)
	for _, source := range sources.Datasources {
		if source.URL != "http://prometheus:9090" {
			s.problem("grafana: asks %s", source.URL)
		}
		if source.Data["timeInterval"] != config.Global["scrape_interval"] {
			s.problem("grafana: timeInterval is not Prometheus's %s", config.Global["scrape_interval"])
		}
	}
}

// grafanaFits: it has its dashboards, and a password that is nobody's guess.
func grafanaFits(s *stack) {
	var boards struct {
		Providers []struct{ Options struct{ Path string } }
	}
	s.read("grafana/provisioning/dashboards/ollama-proxy.yaml", &boards)
	for _, p := range boards.Providers {
		if !slices.ContainsFunc(s.Services["grafana"].Volumes, func(v types.ServiceVolumeConfig) bool {
			return v.Target == p.Options.Path && v.Source == absolute("../grafana")
		}) {
			s.problem("grafana: there are no dashboards in %s", p.Options.Path)
		}
	}
	var password string
	if value := s.Services["grafana"].Environment["GF_SECURITY_ADMIN_PASSWORD"]; value != nil {
		password = *value
	}
	if password, _ = strings.CutPrefix(password, "$__file{"); !strings.HasSuffix(password, "}") {
		s.problem("grafana: its password is in the file")
		return
	}
	if !s.makes("password", "grafana", strings.TrimSuffix(password, "}")) {
		s.problem("grafana: nobody makes its password")
	}
	maker := regexp.MustCompile(`(?m)^USER (\d+)`).FindStringSubmatch(s.files["Dockerfile"])
	if user, _, _ := strings.Cut(s.Services["grafana"].User, ":"); maker == nil || user != maker[1] {
		s.problem("grafana: user %s cannot read its password", user)
	}
}

// secretsAreMade: nothing has to be done before the first start.
func secretsAreMade(s *stack) {
	for _, name := range []string{"proxy", "mint"} {
		if !s.makes("secret", name, s.setting("SECRET_FILE")) {
			s.problem("%s: nobody makes its secret", name)
		}
	}
}

// makes reports whether the file that one service makes with --out is what
// another one sees at the path.
func (s *stack) makes(maker, reader, file string) bool {
	place := func(name, file string) string {
		for _, v := range s.Services[name].Volumes {
			if v.Type == types.VolumeTypeVolume && path.Dir(file) == v.Target {
				return v.Source + "/" + path.Base(file)
			}
		}
		return name + " has none"
	}
	words := s.Services[maker].Command
	out := slices.Index(words, "--out") + 1
	return out > 0 && out < len(words) && place(maker, words[out]) == place(reader, file)
}

func (s *stack) read(name string, into any) {
	if err := yaml.Unmarshal([]byte(s.files[name]), into); err != nil {
		s.problem("%s: %v", name, err)
	}
}
