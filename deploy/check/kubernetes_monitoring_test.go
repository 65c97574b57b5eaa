package check

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

const alertsFile = "../prometheus/alerts.yaml"

// checkMonitoring wants the labels that the alerts and dashboards ask for, and
// the alerts themselves.
func (c *cluster) checkMonitoring(r *report) {
	proxy, ok := c.proxy()
	for _, monitor := range all[monitoringv1.PodMonitor](c) {
		if w, one := c.selected(r, monitor, &monitor.Spec.Selector); one && w.Object != proxy.Object {
			r.add("%s: watches %s", describe(monitor), describe(w.Object))
		}
		if !ok {
			continue
		}
		if monitor.Spec.NamespaceSelector.Any || len(monitor.Spec.NamespaceSelector.MatchNames) > 0 {
			r.add("%s: looks into other namespaces", describe(monitor))
		}
		if job := proxy.template.Labels[monitor.Spec.JobLabel]; job == "" || job != alertedJob(r) {
			r.add("%s: gives the job %q, and the alerts ask for another", describe(monitor), job)
		}
		if len(monitor.Spec.PodMetricsEndpoints) != 1 {
			r.add("%s: has %d endpoints", describe(monitor), len(monitor.Spec.PodMetricsEndpoints))
			continue
		}
		endpoint := monitor.Spec.PodMetricsEndpoints[0]
		if endpoint.Port == nil || *endpoint.Port != "metrics" || containerPort(&proxy.template.Spec.Containers[0], intstr.FromString(*endpoint.Port)) == 0 || endpoint.Path != "/metrics" {
			r.add("%s: does not ask /metrics of the port metrics", describe(monitor))
		}
		for _, relabeling := range endpoint.RelabelConfigs {
			if relabeling.TargetLabel == "job" {
				r.add("%s: gives another job", describe(monitor))
			}
		}
	}
	for _, rule := range all[monitoringv1.PrometheusRule](c) {
		ours, err := json.Marshal(rule.Spec)
		if err != nil {
			r.add("%v", err)
			continue
		}
		// Both as the operator reads them: what it does not know of an alert
		// would be lost.
		var theirs monitoringv1.PrometheusRuleSpec
		if err := yaml.UnmarshalStrict([]byte(read(r, alertsFile)), &theirs); err != nil {
			r.add("%s: %v", alertsFile, err)
		}
		if want, _ := json.Marshal(theirs); !reflect.DeepEqual(ours, want) {
			r.add("%s: is not what deploy/prometheus/alerts.yaml says; rules.yaml begins with how to mend that", describe(rule))
		}
	}
	for _, config := range all[corev1.ConfigMap](c) {
		if config.Labels["grafana_dashboard"] != "" {
			checkDashboards(r, config)
		}
	}
	if monitors, rules := len(all[monitoringv1.PodMonitor](c)), len(all[monitoringv1.PrometheusRule](c)); monitors != rules || monitors > 1 {
		r.add("there are %d PodMonitors and %d PrometheusRules", monitors, rules)
	}
}

// alertedJob is the one job that the alerts name.
func alertedJob(r *report) string {
	names := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^[^#\n]*\bjob="([^"]*)"`).FindAllStringSubmatch(read(r, alertsFile), -1) {
		names[match[1]] = true
	}
	for name := range names {
		if len(names) == 1 {
			return name
		}
	}
	r.add("%s: names %d jobs", alertsFile, len(names))
	return ""
}

// checkDashboards wants all that lie in deploy/grafana, each whole.
func checkDashboards(r *report, config *corev1.ConfigMap) {
	boards, err := filepath.Glob("../grafana/*.json")
	if err != nil || len(boards) != len(config.Data) {
		r.add("%s: has %d dashboards, and deploy/grafana %d", describe(config), len(config.Data), len(boards))
	}
	for name, text := range config.Data {
		if !strings.HasSuffix(name, ".json") || !json.Valid([]byte(text)) {
			r.add("%s: %s is no dashboard", describe(config), name)
		}
	}
}

func read(r *report, path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		r.add("%v", err)
	}
	return string(text)
}
