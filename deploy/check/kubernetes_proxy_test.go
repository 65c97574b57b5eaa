package check

import (
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	// drainMargin is what a drain may take beyond its grace, in which what
	// still runs is cut: 3 s in handler/server.go, and time to spare.
	drainMargin = 10 * time.Second

	// smallBody is what a request may hold in memory: 1 MiB, as in
	// handler/body.go.
	smallBody = 1 << 20
)

// proxy is the Deployment that all this is about.
func (c *cluster) proxy() (workload, bool) {
	for _, w := range c.workloads() {
		if w.GetName() == "ollama-proxy" && len(w.template.Spec.Containers) == 1 {
			return w, true
		}
	}
	return workload{}, false
}

// checkProxy holds the Deployment against what the proxy's flags say, and its
// parts against each other.
func (c *cluster) checkProxy(r *report) {
	w, ok := c.proxy()
	if !ok {
		r.add("there is no Deployment/ollama-proxy with one container")
		return
	}
	container := &w.template.Spec.Containers[0]
	if !slices.Equal(container.Args, []string{"serve"}) || len(container.Command) > 0 {
		r.add("the proxy is started with %q %q", container.Command, container.Args)
	}
	env := variables(container)
	for name := range env {
		if name != "GOMEMLIMIT" && !slices.Contains(c.variables, name) {
			r.add("the proxy knows no variable %s", name)
		}
	}
	for variable, port := range map[string]string{"OLLAMA_PROXY_LISTEN": "http", "OLLAMA_PROXY_METRICS_LISTEN": "metrics"} {
		host, number, err := net.SplitHostPort(env[variable])
		if n, _ := strconv.Atoi(number); err != nil || host != "" || n == 0 || containerPort(container, intstr.FromString(port)) != int32(n) {
			r.add("%s=%q is not the port %s on every address", variable, env[variable], port)
		}
	}
	for _, variable := range []string{"OLLAMA_PROXY_SECRET_FILE", "OLLAMA_PROXY_REVOCATIONS"} {
		if location := env[variable]; !strings.HasPrefix(location, "https://") && !slices.Contains(files(w), location) {
			r.add("%s=%q is no file that is mounted", variable, location)
		}
	}
	if strings.Contains(env["OLLAMA_PROXY_SECRET_FILE"], "://") {
		r.add("the secret is to be a file")
	}
	for kind, want := range map[string]string{"liveness": "/healthz", "readiness": "/readyz", "startup": "/healthz"} {
		probe := map[string]*corev1.Probe{"liveness": container.LivenessProbe, "readiness": container.ReadinessProbe, "startup": container.StartupProbe}[kind]
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != want || probe.HTTPGet.Port != intstr.FromString("metrics") {
			r.add("the %sProbe of the proxy should ask %s of its port metrics", kind, want)
		}
	}
	c.checkUpstream(r, w.GetNamespace(), env["OLLAMA_PROXY_UPSTREAM"])
	checkMemory(r, container, env)
	checkGrace(r, &w.template.Spec, env)
	checkRollout(r, named[appsv1.Deployment](c, w.GetName()))
}

// variables are those of a container that have a value; of the proxy's all do.
func variables(container *corev1.Container) map[string]string {
	env := map[string]string{}
	for _, v := range container.Env {
		env[v.Name] = v.Value
	}
	return env
}

// checkUpstream wants a Service, if Ollama is said to be one of this cluster.
func (c *cluster) checkUpstream(r *report, namespace, upstream string) {
	u, err := url.Parse(upstream)
	if err != nil || u.Host == "" {
		r.add("OLLAMA_PROXY_UPSTREAM=%q is no URL", upstream)
		return
	}
	name := shortName(u.Hostname(), namespace)
	if name == "" {
		return
	}
	service, port := named[corev1.Service](c, name), u.Port()
	if service == nil || !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return strconv.Itoa(int(p.Port)) == port }) {
		r.add("OLLAMA_PROXY_UPSTREAM=%s: there is no such Service with such a port", upstream)
	}
}

// checkMemory wants Go to know the limit before the kernel enforces it, and the
// requests that are let in to stay below both.
func checkMemory(r *report, container *corev1.Container, env map[string]string) {
	limit := container.Resources.Limits.Memory().Value()
	soft, err := resource.ParseQuantity(strings.TrimSuffix(env["GOMEMLIMIT"], "B"))
	if err != nil || soft.Value() <= 0 || soft.Value() >= limit {
		r.add("GOMEMLIMIT=%q is not below the limit of memory", env["GOMEMLIMIT"])
	}
	requests, err := strconv.ParseInt(env["OLLAMA_PROXY_MAX_IN_FLIGHT"], 10, 32)
	if err != nil || requests <= 0 || requests*smallBody >= soft.Value() {
		r.add("OLLAMA_PROXY_MAX_IN_FLIGHT=%q requests may need more memory than there is", env["OLLAMA_PROXY_MAX_IN_FLIGHT"])
	}
}

// checkGrace wants the sleep, the drain and what comes after it to be over
// before the process is killed.
func checkGrace(r *report, spec *corev1.PodSpec, env map[string]string) {
	container := &spec.Containers[0]
	if l := container.Lifecycle; l == nil || l.PreStop == nil || l.PreStop.Sleep == nil || l.PreStop.Sleep.Seconds < 5 {
		r.add("the proxy gets SIGTERM before everyone knows to send it nothing more")
		return
	}
	sleep := time.Duration(container.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	grace, err := time.ParseDuration(env["OLLAMA_PROXY_SHUTDOWN_GRACE"])
	if err != nil || grace < 0 {
		r.add("OLLAMA_PROXY_SHUTDOWN_GRACE=%q is no time", env["OLLAMA_PROXY_SHUTDOWN_GRACE"])
		grace = math.MaxInt64 / 2
	}
	killed := 30 * time.Second
	if s := spec.TerminationGracePeriodSeconds; s != nil {
		killed = time.Duration(*s) * time.Second
	}
	if need := sleep + grace + drainMargin; killed < need {
		r.add("terminationGracePeriodSeconds are %v, but %v of sleep, %v of grace and a margin are %v", killed, sleep, grace, need)
	}
}

// checkRollout wants a new replica to be ready before an old one goes, and the
// number of replicas to be left alone.
func checkRollout(r *report, d *appsv1.Deployment) {
	if d == nil || d.Spec.Strategy.RollingUpdate == nil || d.Spec.Strategy.RollingUpdate.MaxUnavailable == nil || d.Spec.Strategy.RollingUpdate.MaxSurge == nil {
		r.add("how is the proxy rolled out?")
		return
	}
	update := d.Spec.Strategy.RollingUpdate
	if n, err := intstr.GetScaledValueFromIntOrPercent(update.MaxUnavailable, 100, true); err != nil || n != 0 {
		r.add("a roll-out of the proxy takes replicas away before there are new ones")
	}
	if n, err := intstr.GetScaledValueFromIntOrPercent(update.MaxSurge, 100, true); err != nil || n == 0 {
		r.add("a roll-out of the proxy could not begin")
	}
	if d.Spec.Replicas != nil {
		r.add("Deployment/%s: replicas are the autoscaler's to say", d.Name)
	}
	if len(d.Spec.Template.Spec.TopologySpreadConstraints) == 0 {
		r.add("Deployment/%s: nothing spreads its pods", d.Name)
	}
}
