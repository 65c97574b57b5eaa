package check

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
)

// What the Deployment says of the proxy is true of the proxy: it starts with
// those variables and files, answers those probes, takes in a list that
// Kubernetes swaps under it, and drains as the probes and the grace expect.
func TestKubernetesContainer(t *testing.T) {
	binary := proxyBinary(t)
	c, problems := decode(renderKustomization(t, "../kubernetes"), nil)
	w, ok := c.proxy()
	if !ok || len(problems) > 0 {
		t.Fatalf("no Deployment to start:%s", join(problems))
	}
	container := &w.template.Spec.Containers[0]

	asked, answer := make(chan bool), make(chan bool)
	ollama := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/chat" {
			asked <- true
			<-answer
		}
		io.WriteString(w, `{"models": []}`)
	}))
	defer ollama.Close()

	volume := newVolume(t, container.VolumeMounts[0].MountPath)
	volume.swap("secret", "0123456789 secret of this test, and of no other\n", "revocations", "")
	pod := startPod(t, binary, container, volume, ollama.URL)
	for _, probe := range []*corev1.Probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
		pod.wants(http.StatusOK, "", pod.metrics+probe.HTTPGet.Path)
	}
	monitor := all[monitoringv1.PodMonitor](c)[0]
	if text := pod.wants(http.StatusOK, "", pod.metrics+monitor.Spec.PodMetricsEndpoints[0].Path); !strings.Contains(text, "\nollama_proxy_build_info{") {
		t.Errorf("no metrics: %s", text)
	}

	// Two keys, made as the README makes them in a pod; one is revoked.
	lost, kept := pod.run("mint"), pod.run("mint", "--label", "alice")
	pod.wants(http.StatusOK, lost, pod.address+"/api/tags")
	volume.swap("secret", "0123456789 secret of this test, and of no other\n", "revocations", lost[:strings.Index(lost, ".")]+"\n")
	pod.until(func(line map[string]any) bool { return line["what"] == "revocations" && line["changed"] == true })
	pod.wants(http.StatusUnauthorized, lost, pod.address+"/api/tags")
	pod.wants(http.StatusOK, kept, pod.address+"/api/tags")

	// While a request runs, the pod is alive but not ready.
	done := make(chan string)
	go func() { done <- pod.wants(http.StatusOK, kept, pod.address+"/api/chat") }()
	<-asked
	pod.process.Process.Signal(syscall.SIGTERM)
	pod.until(func(line map[string]any) bool { return strings.HasPrefix(line["msg"].(string), "shutting down") })
	for pod.status("", pod.metrics+container.ReadinessProbe.HTTPGet.Path) == http.StatusOK {
		// It was logged a moment before it is so.
	}
	pod.wants(http.StatusServiceUnavailable, "", pod.metrics+container.ReadinessProbe.HTTPGet.Path)
	pod.wants(http.StatusOK, "", pod.metrics+container.LivenessProbe.HTTPGet.Path)
	pod.wants(http.StatusServiceUnavailable, kept, pod.address+"/api/tags")
	close(answer)
	<-done
	if err := pod.process.Wait(); err != nil {
		t.Errorf("the proxy ended with %v", err)
	}
}

// volume is a directory laid out as kubelet lays out what it projects: the
// files are links into ..data, which is a link that is swapped as a whole.
type volume struct {
	t         *testing.T
	dir, path string // where it is, and where the container has it
	n         int
}

func newVolume(t *testing.T, path string) *volume { return &volume{t: t, dir: t.TempDir(), path: path} }

func (v *volume) swap(namesAndTexts ...string) {
	v.t.Helper()
	v.n++
	version := "..version_" + string(rune('0'+v.n))
	must(v.t, os.Mkdir(filepath.Join(v.dir, version), 0o700))
	for i := 0; i < len(namesAndTexts); i += 2 {
		write(v.t, filepath.Join(v.dir, version, namesAndTexts[i]), namesAndTexts[i+1])
		if v.n == 1 {
			must(v.t, os.Symlink(filepath.Join("..data", namesAndTexts[i]), filepath.Join(v.dir, namesAndTexts[i])))
		}
	}
	must(v.t, os.Symlink(version, filepath.Join(v.dir, "..data_tmp")))
	must(v.t, os.Rename(filepath.Join(v.dir, "..data_tmp"), filepath.Join(v.dir, "..data")))
}

// pod is the proxy, running as its container says.
type pod struct {
	t                *testing.T
	binary           string
	env              []string
	process          *exec.Cmd
	log              *bufio.Scanner
	address, metrics string
}

// startPod gives the process what the container gives it, at other paths and
// ports and with another Ollama; and it need not wait so long for a new list.
func startPod(t *testing.T, binary string, container *corev1.Container, volume *volume, ollama string) *pod {
	t.Helper()
	p := &pod{t: t, binary: binary, env: []string{"OLLAMA_PROXY_RELOAD_INTERVAL=20ms"}}
	for name, value := range variables(container) {
		switch {
		case strings.HasSuffix(name, "_LISTEN"):
			value = "127.0.0.1:0"
		case name == "OLLAMA_PROXY_UPSTREAM":
			value = ollama
		}
		if rest, ok := strings.CutPrefix(value, volume.path+"/"); ok {
			value = filepath.Join(volume.dir, rest)
		}
		p.env = append(p.env, name+"="+value)
	}
	p.process = exec.Command(binary, container.Args...)
	p.process.Env = p.env
	stderr, err := p.process.StderrPipe()
	must(t, err)
	must(t, p.process.Start())
	t.Cleanup(func() { p.process.Process.Kill(); p.process.Wait() })
	overdue := time.AfterFunc(time.Minute, func() { p.process.Process.Kill() })
	t.Cleanup(func() { overdue.Stop() })
	p.log = bufio.NewScanner(stderr)
	serving := p.until(func(line map[string]any) bool { return line["msg"] == "serving" })
	p.address, p.metrics = "http://"+serving["address"].(string), "http://"+serving["metrics"].(string)
	return p
}

// until reads the log up to a line. It is JSON, as the Deployment wants it.
func (p *pod) until(wanted func(map[string]any) bool) map[string]any {
	p.t.Helper()
	for p.log.Scan() {
		var line map[string]any
		if err := json.Unmarshal(p.log.Bytes(), &line); err != nil {
			p.t.Fatalf("the log says: %s", p.log.Text())
		}
		if wanted(line) {
			return line
		}
	}
	p.t.Fatal("the log ended")
	return nil
}

// run is kubectl exec.
func (p *pod) run(args ...string) string {
	p.t.Helper()
	command := exec.Command(p.binary, args...)
	command.Env = p.env
	out, err := command.Output()
	must(p.t, err)
	return strings.TrimSpace(string(out))
}

func (p *pod) wants(status int, key, url string) (text string) {
	p.t.Helper()
	got, text := p.get(key, url)
	if got != status {
		p.t.Errorf("%s: status %d instead of %d: %s", url, got, status, text)
	}
	return text
}

func (p *pod) status(key, url string) int {
	status, _ := p.get(key, url)
	return status
}

// get asks as a probe does or, with a key, as a client.
func (p *pod) get(key, url string) (status int, text string) {
	method := http.MethodGet
	if strings.HasSuffix(url, "/api/chat") {
		method = http.MethodPost
	}
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		p.t.Error(err)
		return 0, ""
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Error(err)
		return 0, ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Error(err)
	}
	return response.StatusCode, string(body)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
