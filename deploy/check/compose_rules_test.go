package check

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// composeRules each add to the problems of a stack.
var composeRules = []func(*stack){
	hardened, pinned, published, separated, mounted, patient, alive, understood,
	haproxyFits, prometheusFits, grafanaFits, secretsAreMade,
}

func (s *stack) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// services yields them by name.
func (s *stack) services(yield func(string, types.ServiceConfig) bool) {
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		if !yield(name, s.Services[name]) {
			return
		}
	}
}

func hardened(s *stack) {
	for name, c := range s.services {
		if !c.ReadOnly {
			s.problem("%s: may write to its image", name)
		}
		if !slices.Equal(c.CapDrop, []string{"ALL"}) || len(c.CapAdd) > 0 {
			s.problem("%s: keeps capabilities", name)
		}
		if !slices.Equal(c.SecurityOpt, []string{"no-new-privileges:true"}) {
			s.problem("%s: may gain privileges", name)
		}
		if c.Privileged || c.Pid != "" || c.Ipc != "" || c.NetworkMode == "host" || c.UserNSMode != "" || len(c.Devices) > 0 {
			s.problem("%s: is not confined", name)
		}
	}
}

var pinnedImage = regexp.MustCompile(`^[a-z/-]+:[\w.-]+$`)

func pinned(s *stack) {
	for name, c := range s.services {
		if !pinnedImage.MatchString(c.Image) || strings.HasSuffix(c.Image, ":latest") {
			s.problem("%s: image %s is not pinned", name, c.Image)
		}
		if b := c.Build; b != nil {
			if file := filepath.Join(b.Context, b.Dockerfile); !exists(file) {
				s.problem("%s: there is no %s", name, file)
			}
		}
	}
}

// published: clients come by HAProxy, and in the clear only where TLS is not
// asked for. The rest is for this machine.
func published(s *stack) {
	listens := map[string]string{"haproxy": s.haproxy(`bind :(\d+)\n`), "prometheus": "9090", "grafana": "3000"}
	if _, tls := s.Services["haproxy"].Environment["TLS_CERTIFICATE"]; tls {
		listens["haproxy"] = s.haproxy(`bind :(\d+) ssl crt "\$\{TLS_CERTIFICATE\}"`)
	}
	for name, c := range s.services {
		for _, p := range c.Ports {
			if name != "haproxy" && p.HostIP != "127.0.0.1" {
				s.problem("%s: is published to other machines", name)
			}
			if listens[name] != fmt.Sprint(p.Target) {
				s.problem("%s: nothing listens on %d", name, p.Target)
			}
		}
	}
}

// separated: Ollama is reached by the proxies alone, and they reach nothing but
// Ollama.
func separated(s *stack) {
	members := map[string][]string{}
	for name, c := range s.services {
		for network := range c.Networks {
			members[network] = append(members[network], name)
		}
	}
	for network := range s.Services["ollama"].Networks {
		for _, name := range members[network] {
			if name != "ollama" && name != "proxy" {
				s.problem("network %s: %s is in it with ollama", network, name)
			}
		}
	}
	for network := range s.Services["proxy"].Networks {
		if !s.Networks[network].Internal {
			s.problem("proxy: network %s leads out", network)
		}
	}
	for _, pair := range [][2]string{{"haproxy", "proxy"}, {"proxy", "ollama"}, {"prometheus", "proxy"}, {"grafana", "prometheus"}} {
		if !slices.ContainsFunc(slices.Collect(maps.Values(members)), func(all []string) bool {
			return slices.Contains(all, pair[0]) && slices.Contains(all, pair[1])
		}) {
			s.problem("%s and %s share no network", pair[0], pair[1])
		}
	}
	trusted, found := s.setting("TRUSTED_PROXY"), false
	for network, c := range s.Networks {
		for _, pool := range c.Ipam.Config {
			if pool.Subnet != trusted {
				continue
			}
			found = true
			if !slices.Equal(members[network], []string{"haproxy", "proxy"}) {
				s.problem("network %s: the proxies trust all of %s", network, strings.Join(members[network], ", "))
			}
		}
	}
	if !found {
		s.problem("the proxies trust %s, which is no network's", trusted)
	}
}

func mounted(s *stack) {
	var secrets string // the volume
	for _, v := range s.Services["proxy"].Volumes {
		if path.Dir(s.setting("SECRET_FILE")) == v.Target {
			secrets = v.Source
		}
	}
	for name, c := range s.services {
		for _, v := range c.Volumes {
			if v.Type == types.VolumeTypeBind {
				file, _ := filepath.Rel(absolute(".."), v.Source)
				if !exists(v.Source) && file != "tls" { // which everybody makes
					s.problem("%s: there is no %s", name, file)
				}
				if !v.ReadOnly {
					s.problem("%s: may write to %s", name, file)
				}
				continue
			}
			if v.Source == secrets && c.Image != s.Services["proxy"].Image {
				s.problem("%s: sees the secret", name)
			}
			if v.Source == secrets && !v.ReadOnly && !slices.Contains([]string{"secret", "mint", "revoke"}, name) {
				s.problem("%s: may write to the secret", name)
			}
		}
	}
}

// patient: whoever stands further out waits longer.
func patient(s *stack) {
	const margin = 5 * time.Second
	duration := func(text string) time.Duration {
		d, err := time.ParseDuration(text)
		if err != nil {
			s.problem("%q is no duration", text)
		}
		return d
	}
	grace := duration(s.setting("SHUTDOWN_GRACE"))
	hard := duration(s.haproxy(`hard-stop-after +(\S+)`))
	if hard < grace {
		s.problem("haproxy: ends streams after %v, replicas after %v", hard, grace)
	}
	for name, needs := range map[string]time.Duration{"proxy": grace + margin, "haproxy": hard + margin} {
		stop := s.Services[name].StopGracePeriod
		if stop == nil || time.Duration(*stop) < needs {
			s.problem("%s: is killed after %v", name, stop)
		}
	}
	for _, side := range []string{"client", "server"} {
		text := s.haproxy(`timeout ` + side + ` +(\S+)`)
		if duration(text) <= max(duration(s.setting("FIRST_BYTE_TIMEOUT")), duration(s.setting("STALL_TIMEOUT"))) {
			s.problem("haproxy: timeout %s %s is less patient than the proxy", side, text)
		}
	}
}

// alive: what is to run is watched and started again; what runs once does not.
func alive(s *stack) {
	once := map[string]bool{}
	for _, c := range s.services {
		for name, d := range c.DependsOn {
			once[name] = once[name] || d.Condition == types.ServiceConditionCompletedSuccessfully
		}
		if len(c.Profiles) > 0 {
			once[c.Name] = true
		}
	}
	for name, c := range s.services {
		if once[name] || name == "secret" || name == "password" {
			if c.Restart != "no" {
				s.problem("%s: is started again and again", name)
			}
			continue
		}
		if c.Restart != "unless-stopped" {
			s.problem("%s: is not started again", name)
		}
		if c.HealthCheck == nil || c.HealthCheck.Disable || len(c.HealthCheck.Test) < 2 {
			s.problem("%s: has no health check", name)
		}
	}
	for name, maker := range map[string]string{"proxy": "secret", "mint": "secret", "grafana": "password"} {
		if s.Services[name].DependsOn[maker].Condition != types.ServiceConditionCompletedSuccessfully {
			s.problem("%s: does not wait for %s", name, maker)
		}
	}
}

// understood: the real ollama-proxy knows each command, flag and variable.
func understood(s *stack) {
	all := strings.Join(slices.Collect(maps.Values(s.help)), "")
	for name, c := range s.services {
		if c.Image != s.Services["proxy"].Image {
			continue
		}
		words := append(c.Entrypoint[min(1, len(c.Entrypoint)):], c.Command...)
		command, known := "serve", all // the image's own command
		if len(words) > 0 {
			command = words[0]
		}
		help, found := s.help[command]
		if !found {
			s.problem("%s: there is no command %s", name, command)
		}
		if command == "serve" {
			known = help // the others have variables in common
		}
		for _, word := range words {
			if strings.HasPrefix(word, "--") && !strings.Contains(help, "   "+word+" ") {
				s.problem("%s: %s has no %s", name, command, word)
			}
		}
		for variable := range c.Environment {
			if !regexp.MustCompile(`\$` + variable + `\b`).MatchString(known) {
				s.problem("%s: %s has no %s", name, command, variable)
			}
		}
	}
}

// setting is what the flag of a proxy comes to: from the compose file, the
// image, or by itself.
func (s *stack) setting(name string) string {
	variable := "OLLAMA_PROXY_" + name
	if value := s.Services["proxy"].Environment[variable]; value != nil {
		return *value
	}
	if m := regexp.MustCompile(`\b` + variable + `=(\S+)`).FindStringSubmatch(s.files["Dockerfile"]); m != nil {
		return m[1]
	}
	if m := regexp.MustCompile(`\(default: "?([^")]*)"?\) \[\$` + variable).FindStringSubmatch(s.help["serve"]); m != nil {
		return m[1]
	}
	return ""
}

// haproxy is what the expression's group finds in haproxy.cfg, "" if nothing.
func (s *stack) haproxy(expression string) string {
	if m := regexp.MustCompile(expression).FindStringSubmatch(s.files["haproxy/haproxy.cfg"]); m != nil {
		return m[1]
	}
	return ""
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
