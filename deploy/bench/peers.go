//go:build linux

package main

import (
	"embed"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

//go:embed conf
var configs embed.FS

// peer is a proxy as it takes part: how it is started, with which files.
type peer struct {
	name    string
	about   string // for the table's head
	program string
	version string   // the argument that makes it say its version
	args    []string // templates, like the files
	files   []string // of conf/; the first is the configuration
	log     bool     // writes an access log
	flat    bool     // cannot check keys with caveats
}

const direct = "direct" // the path to the upstream without a proxy

// peers are all who can take part.
func peers() (all []peer) {
	ours := func(name, about, program, level string) peer {
		return peer{name: name, about: about, program: program, version: "--version", log: level == "info", args: []string{
			"serve", "--listen", "{{.Listen}}", "--upstream", "http://{{.Upstream}}", "--metrics-listen", "{{.Metrics}}",
			"--secret-file", "{{.Dir}}/secret", "--revocations", "{{.Dir}}/revoked", "--log-level", level,
		}}
	}
	nginx := func(name, about string, log bool, files ...string) peer {
		return peer{name: name, about: about, program: "nginx", version: "-v", log: log, files: files,
			args: []string{"-e", "stderr", "-p", "{{.Dir}}", "-c", "{{.Dir}}/" + files[0]}}
	}
	haproxy := func(name, about, file string, flat bool) peer {
		return peer{name: name, about: about, flat: flat, program: "haproxy", version: "-v", files: []string{file}, args: []string{"-db", "-f", "{{.Dir}}/" + file}}
	}
	all = append(all, ours("ours", "ollama-proxy", os.Getenv("OURS"), "warn"))
	if base := os.Getenv("OURS_BASE"); base != "" {
		all = append(all, ours("ours-base", "base", base, "warn"))
	}
	return append(all,
		nginx("nginx", "nginx", false, "nginx.conf"),
		nginx("nginx-njs", "nginx, HMAC", false, "nginx-njs.conf", "verify.js"),
		haproxy("haproxy", "HAProxy", "haproxy.cfg", false),
		haproxy("haproxy-hmac", "HAProxy, HMAC", "haproxy-hmac.cfg", true),
		peer{name: "caddy", about: "Caddy", program: "caddy", version: "version", files: []string{"Caddyfile"},
			args: []string{"run", "--config", "{{.Dir}}/Caddyfile", "--adapter", "caddyfile"}},
		ours("ours-log", "ollama-proxy", os.Getenv("OURS"), "info"),
		nginx("nginx-log", "nginx", true, "nginx.conf"),
	)
}

// versionText is what the peer calls itself.
func (p peer) versionText() string {
	said, _ := exec.Command(p.program, p.version).CombinedOutput() // nginx says it on stderr
	text, _, _ := strings.Cut(string(said), "\n")
	for _, noise := range []string{"nginx version: ", " - https://haproxy.org/"} {
		text = strings.ReplaceAll(text, noise, "")
	}
	if p.program == "caddy" {
		text = "Caddy " + text
	}
	return text
}

// setting is what the templates are filled in with.
type setting struct {
	*keyring
	Dir, Listen, Metrics, Upstream, AccessLog string
}

func (s *setting) SecretBase64() string { return base64.StdEncoding.EncodeToString([]byte(s.Secret)) }

func (s *setting) Port() string { _, port, _ := net.SplitHostPort(s.Listen); return port }

func (s *setting) fill(text string) (string, error) {
	t, err := template.New("").Parse(text)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = t.Execute(&out, s)
	return out.String(), err
}

// instance is a peer that runs.
type instance struct {
	peer
	address string
	cmd     *exec.Cmd
	dir     string
	exited  chan struct{}
}

// start starts a peer on one core, in a directory of its own.
func (p peer) start(dir, core, upstream string, keys *keyring) (*instance, error) {
	s := &setting{keyring: keys, Dir: dir, Upstream: upstream, Listen: freeAddress(), Metrics: freeAddress(), AccessLog: "off"}
	if p.log {
		s.AccessLog = "/dev/null combined"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	files := map[string]string{
		"secret":      keys.Secret + "\n",
		"keys":        lines("Bearer %s\n", keys.Keys),
		"keys.map":    lines("\"Bearer %s\" 1;\n", keys.Keys),
		"revoked":     lines("%s\n", keys.Revoked),
		"revoked.map": lines("%s 1;\n", keys.Revoked),
	}
	for _, name := range p.files {
		text, err := configs.ReadFile("conf/" + name)
		if err != nil {
			return nil, err
		}
		if files[name], err = s.fill(string(text)); err != nil {
			return nil, err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	args := []string{"-c", core, p.program}
	for _, arg := range p.args {
		arg, err := s.fill(arg)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	i := &instance{peer: p, address: s.Listen, dir: dir, cmd: exec.Command("taskset", args...), exited: make(chan struct{})}
	i.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	i.cmd.Stdout, i.cmd.Stderr = log, log
	if p.log { // the log of ours
		null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		defer null.Close()
		i.cmd.Stderr = null
	}
	if err := i.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		i.cmd.Wait()
		close(i.exited)
	}()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", i.address); err == nil {
			c.Close()
			return i, nil
		}
		select {
		case <-i.exited:
			return nil, fmt.Errorf("%s ended at once: %s", p.name, i.lastWords())
		default:
		}
		if time.Now().After(deadline) {
			i.stop()
			return nil, fmt.Errorf("%s does not listen: %s", p.name, i.lastWords())
		}
	}
}

// lastWords is the end of what the peer has logged.
func (i *instance) lastWords() string {
	text, _ := os.ReadFile(filepath.Join(i.dir, "log"))
	return strings.TrimSpace(string(text[max(0, len(text)-1000):]))
}

// stop ends the peer, and what it has started.
func (i *instance) stop() {
	pids := family(i.cmd.Process.Pid)
	i.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-i.exited:
	case <-time.After(patience / 2):
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		<-i.exited
	}
	os.RemoveAll(i.dir)
}

func lines(format string, words []string) string {
	var all strings.Builder
	for _, word := range words {
		fmt.Fprintf(&all, format, word)
	}
	return all.String()
}

// freeAddress is a local address on which nobody listens.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}
