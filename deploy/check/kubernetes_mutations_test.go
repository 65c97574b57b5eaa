package check

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// gone is set in place of what a mutation takes out.
const gone = "\x00"

// mutation breaks one thing. A check that does not see it is worth nothing.
type mutation struct {
	object string // kind/name
	path   string // fields, and numbers or names of list items, with spaces between
	value  any
	want   string // part of what is said about it
}

const (
	proxyPod       = "spec template spec "
	proxyContainer = proxyPod + "containers 0 "
)

// oneThingBroken has at least one line for each thing that is checked.
var oneThingBroken = []mutation{
	// decoding
	{"Deployment/ollama-proxy", "spec repilcas", 3, "unknown field"},
	{"Deployment/ollama-proxy", proxyContainer + "containerport", 1, "unknown field"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_MAX_IN_FLIGHT value", 500, "cannot unmarshal number"},
	{"HTTPRoute/ollama-proxy", "spec rules 0 timeout", map[string]any{}, "unknown field"},
	{"PodMonitor/ollama-proxy", "spec podMetricsEndpoints 0 scheme", true, "cannot unmarshal bool"},
	{"Service/ollama", "kind", "Secret", "no kind that belongs here"},
	{"Service/ollama", "metadata name", "ollama-proxy", "is there twice"},
	{"ConfigMap/ollama-proxy-dashboards", "data ollama-proxy-keys.json", `"` + strings.Repeat("x", maxObject) + `"`, "more than an annotation holds"},

	// values
	{"Deployment/ollama-proxy", proxyContainer + "ports 0 protocol", "HTTP", `"HTTP" is no v1.Protocol`},
	{"Deployment/ollama-proxy", proxyPod + "topologySpreadConstraints 0 whenUnsatisfiable", "ScheduleAnyWay", "is no v1.Unsatis"},
	{"Deployment/ollama-proxy", proxyPod + "dnsPolicy", "Default", "what may a v1.DNSPolicy be"},
	{"HTTPRoute/ollama-proxy", "spec rules 0 timeouts request", "0", "is no v1.Duration"},
	{"HTTPRoute/ollama-proxy", "spec hostnames 0", "https://ollama.example.com", "is no v1.Hostname"},
	{"NetworkPolicy/ollama", "spec policyTypes 0", "ingress", "is no v1.PolicyType"},
	{"PodDisruptionBudget/ollama-proxy", "spec unhealthyPodEvictionPolicy", "Always", "is no v1.Unhealthy"},
	{"HorizontalPodAutoscaler/ollama-proxy", "spec metrics 0 resource target type", "Percent", "is no v2.MetricTargetType"},
	{"HorizontalPodAutoscaler/ollama-proxy", "spec metrics 0 resource name", "cpus", "is no v1.ResourceName"},

	// the namespace, and Pod Security
	{"Namespace/ollama-proxy", "metadata labels pod-security.kubernetes.io/enforce", "baseline", `enforces "baseline"`},
	{"Namespace/ollama-proxy", "metadata labels pod-security.kubernetes.io/enforce", "restrict", "Invalid value"},
	{"Namespace/ollama-proxy", "metadata labels", gone, "Pod Security enforces"},
	{"Namespace/ollama-proxy", "kind", "Namespaces", "there are 0 namespaces"},
	{"PodMonitor/ollama-proxy", "metadata namespace", "monitoring", `in the namespace "monitoring"`},
	{"Deployment/ollama-proxy", proxyPod + "securityContext runAsNonRoot", false, "runAsNonRoot"},
	{"Deployment/ollama-proxy", proxyPod + "securityContext runAsUser", 0, "runAsUser=0"},
	{"Deployment/ollama-proxy", proxyPod + "securityContext runAsUser", gone, "which user"},
	{"Deployment/ollama-proxy", proxyPod + "securityContext seccompProfile", gone, "seccompProfile"},
	{"Deployment/ollama-proxy", proxyContainer + "securityContext capabilities", gone, "unrestricted capabilities"},
	{"Deployment/ollama-proxy", proxyContainer + "securityContext allowPrivilegeEscalation", gone, "allowPrivilegeEscalation"},
	{"Deployment/ollama-proxy", proxyContainer + "securityContext readOnlyRootFilesystem", false, "can be written to"},
	{"StatefulSet/ollama", proxyContainer + "securityContext", gone, "allowPrivilegeEscalation"},
	{"StatefulSet/ollama", proxyPod + "hostNetwork", true, "host namespaces"},

	// pods
	{"Deployment/ollama-proxy", proxyPod + "containers 1", map[string]any{"name": "sidecar"}, "other containers"},
	{"Deployment/ollama-proxy", proxyPod + "automountServiceAccountToken", gone, "token for the API server"},
	{"Deployment/ollama-proxy", proxyPod + "enableServiceLinks", gone, "put variables among"},
	{"Deployment/ollama-proxy", proxyContainer + "image", "ghcr.io/ollama-proxy/ollama-proxy:latest", "not pinned"},
	{"StatefulSet/ollama", proxyContainer + "image", "ollama/ollama", "not pinned"},
	{"Deployment/ollama-proxy", proxyContainer + "resources requests cpu", gone, "requests no CPU"},
	{"Deployment/ollama-proxy", proxyContainer + "resources limits", gone, "memory has no limit"},
	{"Deployment/ollama-proxy", proxyContainer + "ports 1 containerPort", 8080, "is there twice"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_METRICS_LISTEN name", "OLLAMA_PROXY_LISTEN", "is set twice"},
	{"StatefulSet/ollama", proxyContainer + "livenessProbe", gone, "has no livenessProbe"},
	{"StatefulSet/ollama", proxyContainer + "livenessProbe httpGet", gone, "asks nothing by HTTP"},
	{"StatefulSet/ollama", proxyContainer + "readinessProbe httpGet port", 11435, "asks a port 11435"},
	{"StatefulSet/ollama", proxyContainer + "volumeMounts 0 name", "models", "mounts a volume models"},
	{"StatefulSet/ollama", proxyContainer + "volumeMounts 1", gone, "nobody mounts"},

	// the files
	{"Deployment/ollama-proxy", proxyContainer + "volumeMounts 0 subPath", "secret", "subPath"},
	{"Deployment/ollama-proxy", proxyContainer + "volumeMounts 0 mountPath", "/etc/proxy", "is no file that is mounted"},
	{"Deployment/ollama-proxy", proxyPod + "volumes 1", map[string]any{"name": "x", "secret": map[string]any{"secretName": "x"}}, "is not projected"},
	{"Deployment/ollama-proxy", proxyPod + "volumes 0 projected sources 2", map[string]any{"serviceAccountToken": map[string]any{"path": "token"}}, "something else than a Secret"},
	{"Deployment/ollama-proxy", proxyPod + "volumes 0 projected defaultMode", 0o444, "should be 0440"},
	{"Deployment/ollama-proxy", proxyPod + "volumes 0 projected defaultMode", 0o400, "should be 0440"},
	{"Deployment/ollama-proxy", proxyPod + "volumes 0 projected sources 0 secret name", "secret", "is to be ollama-proxy"},
	{"Deployment/ollama-proxy", proxyPod + "volumes 0 projected sources 0 secret items 0 key", "key", "has no key"},
	{"Deployment/ollama-proxy", proxyPod + "volumes 0 projected sources 0 secret optional", true, "must be there"},
	{"Deployment/ollama-proxy", proxyPod + "volumes 0 projected sources 1 configMap optional", true, "no key is revoked"},
	{"Deployment/ollama-proxy", proxyPod + "volumes 0 projected sources 1 configMap items 0 key", "list", "a key list"},
	{"Deployment/ollama-proxy", proxyPod + "volumes 0 projected sources 1 configMap items 0 path", "list", "is no file that is mounted"},
	{"Deployment/ollama-proxy", proxyPod + "volumes 0 projected sources 1 configMap name", "ollama-proxy-revocations-7g2t", "is not ollama-proxy-revocations"},
	{"ConfigMap/ollama-proxy-revocations", "metadata name", "ollama-proxy-revocations-7g2t", "ConfigMap ollama-proxy-revocations that is not there"},

	// the proxy
	{"Deployment/ollama-proxy", "metadata name", "proxy", "there is no Deployment/ollama-proxy"},
	{"Deployment/ollama-proxy", proxyContainer + "args 0", "server", "is started with"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_LOG_FORMAT name", "OLLAMA_PROXY_LOGFORMAT", "knows no variable"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_LOG_FORMAT name", "OLLAMA_PROXY_SECRET", "knows no variable"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_LISTEN value", "127.0.0.1:8080", "every address"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_LISTEN value", ":8081", "is not the port http"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_METRICS_LISTEN", gone, "is not the port metrics"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_UPSTREAM value", "http://ollama:11435", "no such Service"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_UPSTREAM value", "http://", "is no URL"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_UPSTREAM value", "http://olama.ollama-proxy.svc:11434", "no such Service"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_SECRET_FILE", gone, `OLLAMA_PROXY_SECRET_FILE=""`},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_SECRET_FILE value", "https://secrets.example.com", "to be a file"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_REVOCATIONS", gone, `OLLAMA_PROXY_REVOCATIONS=""`},
	{"Deployment/ollama-proxy", proxyContainer + "livenessProbe httpGet path", "/readyz", "livenessProbe of the proxy should ask /healthz"},
	{"Deployment/ollama-proxy", proxyContainer + "readinessProbe httpGet path", "/healthz", "readinessProbe of the proxy should ask /readyz"},
	{"Deployment/ollama-proxy", proxyContainer + "readinessProbe httpGet port", "http", "of its port metrics"},
	{"Deployment/ollama-proxy", proxyContainer + "startupProbe", gone, "startupProbe of the proxy"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_MAX_IN_FLIGHT value", "5000", "more memory than there is"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_MAX_IN_FLIGHT", gone, "more memory than there is"},
	{"Deployment/ollama-proxy", proxyContainer + "env GOMEMLIMIT value", "1GiB", "not below the limit"},
	{"Deployment/ollama-proxy", proxyContainer + "resources limits memory", "512Mi", "not below the limit"},

	// grace, and roll-out
	{"Deployment/ollama-proxy", proxyPod + "terminationGracePeriodSeconds", 300, "terminationGracePeriodSeconds are 5m0s"},
	{"Deployment/ollama-proxy", proxyPod + "terminationGracePeriodSeconds", gone, "terminationGracePeriodSeconds are 30s"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_SHUTDOWN_GRACE value", "6m", "of grace and a margin are 6m20s"},
	{"Deployment/ollama-proxy", proxyContainer + "env OLLAMA_PROXY_SHUTDOWN_GRACE value", "5", "is no time"},
	{"Deployment/ollama-proxy", proxyContainer + "lifecycle preStop sleep seconds", 60, "1m0s of sleep"},
	{"Deployment/ollama-proxy", proxyContainer + "lifecycle", gone, "gets SIGTERM before"},
	{"Deployment/ollama-proxy", "spec strategy rollingUpdate maxUnavailable", 1, "takes replicas away"},
	{"Deployment/ollama-proxy", "spec strategy rollingUpdate maxSurge", 0, "could not begin"},
	{"Deployment/ollama-proxy", "spec strategy", gone, "how is the proxy rolled out"},
	{"Deployment/ollama-proxy", "spec replicas", 3, "autoscaler's to say"},
	{"Deployment/ollama-proxy", proxyPod + "topologySpreadConstraints", gone, "nothing spreads"},
	{"Deployment/ollama-proxy", proxyPod + "topologySpreadConstraints 1 labelSelector matchLabels app.kubernetes.io/name", "ollama", "spread among others"},

	// references
	{"Deployment/ollama-proxy", "spec selector matchLabels app.kubernetes.io/name", "proxy", "selects the pods of 0"},
	{"Deployment/ollama-proxy", "spec selector matchLabels app.kubernetes.io/name", "ollama", "selects the pods of StatefulSet/ollama"},
	{"Deployment/ollama-proxy", "spec template metadata labels app.kubernetes.io/name", "ollama", "selects the pods of"},
	{"Service/ollama-proxy", "spec selector app.kubernetes.io/name", "ollama", "leads to StatefulSet/ollama"},
	{"Service/ollama", "spec selector app.kubernetes.io/name", "ollama-server", "selects the pods of 0"},
	{"Service/ollama", "spec selector", gone, "selects the pods of 0"},
	{"Service/ollama-proxy", "spec ports 0 targetPort", "web", "a port web that is not there"},
	{"Service/ollama-proxy", "spec ports 0 targetPort", "metrics", "metrics of some pod"},
	{"Service/ollama-proxy", "spec type", "LoadBalancer", "open to the outside"},
	{"PodDisruptionBudget/ollama-proxy", "spec selector matchLabels app.kubernetes.io/name", "ollama", "is for StatefulSet/ollama"},
	{"PodDisruptionBudget/ollama-proxy", "spec maxUnavailable", "0%", "0 may be unavailable"},
	{"PodDisruptionBudget/ollama-proxy", "spec maxUnavailable", gone, "how many may be unavailable"},
	{"PodDisruptionBudget/ollama-proxy", "kind", "PodDisruption", "there are 0 PodDisruptionBudgets"},
	{"HorizontalPodAutoscaler/ollama-proxy", "spec scaleTargetRef name", "proxy", "scales Deployment/proxy"},
	{"HorizontalPodAutoscaler/ollama-proxy", "spec scaleTargetRef apiVersion", "apps/v1beta1", "scales"},
	{"HorizontalPodAutoscaler/ollama-proxy", "spec minReplicas", 1, "less than two"},
	{"HorizontalPodAutoscaler/ollama-proxy", "kind", "PodAutoscaler", "there are 0 HorizontalPodAutoscalers"},
	{"HTTPRoute/ollama-proxy", "spec rules 0 timeouts", gone, "has timeouts"},
	{"HTTPRoute/ollama-proxy", "spec rules 0 timeouts backendRequest", "60s", "has timeouts"},
	{"HTTPRoute/ollama-proxy", "spec rules 0 backendRefs 0 port", 8080, "not the proxy's"},
	{"HTTPRoute/ollama-proxy", "spec rules 0 backendRefs 0 name", "ollama", "not the proxy's"},
	{"HTTPRoute/ollama-proxy", "spec rules 0 backendRefs", []any{}, "something else than the proxy alone"},
	{"HTTPRoute/ollama-proxy", "spec parentRefs", gone, "belongs to no Gateway"},
	{"HTTPRoute/ollama-proxy", "spec parentRefs 0 sectionName", gone, "in the clear"},

	// monitoring
	{"PodMonitor/ollama-proxy", "spec selector matchLabels app.kubernetes.io/name", "ollama", "watches StatefulSet/ollama"},
	{"PodMonitor/ollama-proxy", "spec namespaceSelector", map[string]any{"any": true}, "other namespaces"},
	{"PodMonitor/ollama-proxy", "spec jobLabel", gone, `gives the job ""`},
	{"PodMonitor/ollama-proxy", "spec podMetricsEndpoints 0 port", "http", "does not ask /metrics"},
	{"PodMonitor/ollama-proxy", "spec podMetricsEndpoints 1", map[string]any{"port": "http"}, "has 2 endpoints"},
	{"PodMonitor/ollama-proxy", "spec podMetricsEndpoints 0 relabelings 0 targetLabel", "job", "gives another job"},
	{"PrometheusRule/ollama-proxy", "spec groups 0 rules 0 expr", "up == 0", "is not what deploy/prometheus/alerts.yaml says"},
	{"PrometheusRule/ollama-proxy", "spec groups 0 rules 3", gone, "is not what deploy/prometheus/alerts.yaml says"},
	{"PrometheusRule/ollama-proxy", "kind", "ConfigMap", "1 PodMonitors and 0 PrometheusRules"},
	{"ConfigMap/ollama-proxy-dashboards", "data ollama-proxy-keys.json", gone, "has 1 dashboards"},
	{"ConfigMap/ollama-proxy-dashboards", "data ollama-proxy-keys.json", "{", "is no dashboard"},

	// the network
	{"NetworkPolicy/ollama", "spec ingress 0 from", gone, "to a pod map[app.kubernetes.io/name:ollama] in ollama-proxy, TCP 11434: true"},
	{"NetworkPolicy/ollama", "spec ingress 0 from 0 podSelector", map[string]any{}, "intruder] in ollama-proxy to"},
	{"NetworkPolicy/ollama", "spec ingress 0 from 0 namespaceSelector", map[string]any{}, "in elsewhere to"},
	{"NetworkPolicy/ollama", "spec ingress 0 from 1", map[string]any{"ipBlock": map[string]any{"cidr": "10.0.0.0/8"}}, "in from 10.0.0.7"},
	{"NetworkPolicy/ollama", "spec ingress 0 from 0 podSelector matchLabels app.kubernetes.io/name", "proxy", "TCP 11434: false"},
	{"NetworkPolicy/ollama", "spec ingress 0 ports 0 port", 11435, "TCP 11434: false"},
	{"NetworkPolicy/ollama", "spec ingress 0 ports", gone, "TCP 22: true"},
	{"NetworkPolicy/ollama", "spec egress 0 to 0 ipBlock except", gone, "to 169.254.169.254, TCP 443: true"},
	{"NetworkPolicy/ollama", "spec egress 0 to 0 ipBlock except 4", "172.16.0.0/16", "to 172.20.0.1, TCP 443: true"},
	{"NetworkPolicy/ollama", "spec egress 0 to 1 ipBlock cidr", "::/0", "to fd00:ec2::254, TCP 443: true"},
	{"NetworkPolicy/ollama", "spec egress 0 to", gone, "client] in elsewhere, TCP 443: true"},
	{"NetworkPolicy/ollama", "spec egress 0 ports", gone, "TCP 25: true"},
	{"NetworkPolicy/ollama", "spec policyTypes", gone, "does not say whether"},
	{"NetworkPolicy/ollama-proxy", "spec ingress 0 ports", gone, "TCP 9464: true"},
	{"NetworkPolicy/ollama-proxy", "spec ingress 0 ports 0 protocol", "UDP", "TCP 8080: false"},
	{"NetworkPolicy/ollama-proxy", "spec egress 0 to", gone, "ollama] in elsewhere, TCP 11434: true"},
	{"NetworkPolicy/ollama-proxy", "spec egress 0 to 0 namespaceSelector", map[string]any{}, "ollama] in elsewhere, TCP 11434: true"},
	{"NetworkPolicy/ollama-proxy", "spec egress 0 ports 0", map[string]any{"port": 1, "endPort": 65535}, "TCP 22: true"},
	{"NetworkPolicy/ollama-proxy", "spec egress 0 ports 0 port", gone, "TCP 22: true"},
	{"NetworkPolicy/ollama-proxy", "spec egress 1", map[string]any{}, "to 203.0.113.7, TCP 443: true"},
	{"NetworkPolicy/ollama-proxy", "spec egress", []any{}, "TCP 11434: false"},
	{"NetworkPolicy/default-deny", "spec podSelector", map[string]any{"matchLabels": map[string]any{"a": "b"}}, "in ollama-proxy, TCP 80: true"},
	{"NetworkPolicy/dns", "spec egress 0 ports 0", gone, "UDP 53: false"},
	{"NetworkPolicy/dns", "spec egress 0 ports", gone, "TCP 9153: true"},
	{"NetworkPolicy/prometheus", "spec ingress 0 from 0 namespaceSelector matchLabels", gone, "TCP 9464: true"},
	{"NetworkPolicy/prometheus", "spec ingress 0 from 0 namespaceSelector matchLabels kubernetes.io/metadata.name", "default", "TCP 9464: false"},
}

// testMutations breaks one thing after the other, and wants each to be seen.
func testMutations(t *testing.T, shipped manifests, variables []string) {
	for _, m := range oneThingBroken {
		problems := m.apply(t, shipped).check(variables)
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, m.want) }) {
			t.Errorf("%s: %s = %v: nobody said %q, but:%s", m.object, m.path, m.value, m.want, join(problems))
		}
	}
}

// apply gives the manifests with one thing changed.
func (m mutation) apply(t *testing.T, shipped manifests) manifests {
	t.Helper()
	changed := slices.Clone(shipped)
	for i, text := range shipped {
		var object map[string]any
		if err := json.Unmarshal(text, &object); err != nil {
			t.Fatal(err)
		}
		name := object["metadata"].(map[string]any)["name"].(string)
		if object["kind"].(string)+"/"+name != m.object {
			continue
		}
		if !set(object, strings.Fields(m.path), m.value) {
			t.Fatalf("%s has no %s", m.object, m.path)
		}
		broken, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		changed[i] = broken
		return changed
	}
	t.Fatalf("there is no %s", m.object)
	return nil
}

// set puts a value, or nothing, at a path. It reports false if there is no way
// there, or nothing changes.
func set(in any, path []string, value any) bool {
	switch in := in.(type) {
	case map[string]any:
		old, there := in[path[0]]
		if list, ok := old.([]any); ok && len(path) == 2 {
			changed, ok := setItem(list, path[1], value)
			in[path[0]] = changed
			return ok
		}
		if len(path) > 1 {
			return there && set(old, path[1:], value)
		}
		if value == gone {
			delete(in, path[0])
			return there
		}
		in[path[0]] = value
		return !reflect.DeepEqual(old, value)
	case []any:
		i := itemIndex(in, path[0])
		return i >= 0 && i < len(in) && set(in[i], path[1:], value)
	}
	return false
}

// setItem replaces or takes out one item of a list, or adds one at its end.
func setItem(list []any, index string, value any) ([]any, bool) {
	switch i := itemIndex(list, index); {
	case i < 0 || i > len(list) || i == len(list) && value == gone:
		return list, false
	case i == len(list):
		return append(list, value), true
	case value == gone:
		return slices.Delete(list, i, i+1), true
	default:
		list[i] = value
		return list, true
	}
}

// itemIndex finds an item by its number or its name. It returns -1 if neither
// is there.
func itemIndex(list []any, index string) int {
	if i, err := strconv.Atoi(index); err == nil {
		return i
	}
	return slices.IndexFunc(list, func(item any) bool {
		named, ok := item.(map[string]any)
		return ok && named["name"] == index
	})
}
