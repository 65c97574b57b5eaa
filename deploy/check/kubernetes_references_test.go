package check

import (
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func labelSet(l map[string]string) labels.Set { return labels.Set(l) }

// selected is the one workload whose pods the selector takes. If there is none,
// or more than one, that is a problem.
func (c *cluster) selected(r *report, by metav1.Object, selector *metav1.LabelSelector) (found workload, ok bool) {
	n := 0
	for _, w := range c.workloads() {
		if selects(selector, w.template.Labels) {
			found, n = w, n+1
		}
	}
	if n != 1 {
		r.add("%s: selects the pods of %d workloads", describe(by), n)
	}
	return found, n == 1 && len(found.template.Spec.Containers) == 1
}

// checkReferences follows every name, label and port from one object to
// another.
func (c *cluster) checkReferences(r *report) {
	for _, w := range c.workloads() {
		if own, ok := c.selected(r, w.Object, w.selector); ok && own.Object != w.Object {
			r.add("%s: selects the pods of %s", describe(w.Object), describe(own.Object))
		}
	}
	for _, service := range all[corev1.Service](c) {
		w, ok := c.selected(r, service, &metav1.LabelSelector{MatchLabels: service.Spec.Selector})
		if ok && w.GetName() != service.Name {
			r.add("%s: leads to %s", describe(service), describe(w.Object))
		}
		for _, port := range service.Spec.Ports {
			if ok && containerPort(&w.template.Spec.Containers[0], port.TargetPort) == 0 {
				r.add("%s: leads to a port %s that is not there", describe(service), port.TargetPort.String())
			}
			if port.TargetPort == intstr.FromString("metrics") {
				r.add("%s: leads to the metrics of some pod", describe(service))
			}
		}
		if service.Spec.Type != corev1.ServiceTypeClusterIP {
			r.add("%s: is open to the outside, past the Gateway and its TLS", describe(service))
		}
	}
	proxy, _ := c.proxy()
	if budgets := all[policyv1.PodDisruptionBudget](c); len(budgets) != 1 {
		r.add("there are %d PodDisruptionBudgets", len(budgets))
	} else if w, ok := c.selected(r, budgets[0], budgets[0].Spec.Selector); ok && w.Object != proxy.Object {
		r.add("%s: is for %s", describe(budgets[0]), describe(w.Object))
	} else if max := budgets[0].Spec.MaxUnavailable; budgets[0].Spec.MinAvailable != nil || max == nil {
		r.add("%s: does not say how many may be unavailable", describe(budgets[0]))
	} else if n, err := intstr.GetScaledValueFromIntOrPercent(max, 3, true); err != nil || n < 1 || n > 2 {
		r.add("%s: of three replicas, %d may be unavailable", describe(budgets[0]), n)
	}
	if scalers := all[autoscalingv2.HorizontalPodAutoscaler](c); len(scalers) != 1 {
		r.add("there are %d HorizontalPodAutoscalers", len(scalers))
	} else {
		target := scalers[0].Spec.ScaleTargetRef
		if proxy.Object == nil || target.APIVersion != "apps/v1" || target.Kind != "Deployment" || target.Name != proxy.GetName() {
			r.add("%s: scales %s/%s", describe(scalers[0]), target.Kind, target.Name)
		}
		if min := scalers[0].Spec.MinReplicas; min == nil || *min < 2 || *min > scalers[0].Spec.MaxReplicas {
			r.add("%s: scales from less than two, or to less than the least", describe(scalers[0]))
		}
	}
	for _, route := range all[gatewayv1.HTTPRoute](c) {
		c.checkRoute(r, route)
	}
}

// checkRoute wants a route that leads to the proxy, in at a listener with TLS,
// and that gives up on no answer.
func (c *cluster) checkRoute(r *report, route *gatewayv1.HTTPRoute) {
	if len(route.Spec.ParentRefs) == 0 || len(route.Spec.Hostnames) == 0 {
		r.add("%s: belongs to no Gateway, or to any name", describe(route))
	}
	for _, parent := range route.Spec.ParentRefs {
		if parent.SectionName == nil || *parent.SectionName != "https" {
			r.add("%s: keys could come in the clear", describe(route))
		}
	}
	for _, rule := range route.Spec.Rules {
		if t := rule.Timeouts; t == nil || t.Request == nil || *t.Request != "0s" || t.BackendRequest == nil || *t.BackendRequest != "0s" {
			r.add("%s: has timeouts, and would cut long answers", describe(route))
		}
		for _, backend := range rule.BackendRefs {
			service := named[corev1.Service](c, string(backend.Name))
			proxied := service != nil && string(backend.Name) == "ollama-proxy"
			if !proxied || backend.Port == nil || !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == int32(*backend.Port) }) {
				r.add("%s: leads to a Service %s, or a port of it, that is not the proxy's", describe(route), backend.Name)
			}
		}
	}
	if len(route.Spec.Rules) != 1 || len(route.Spec.Rules[0].BackendRefs) != 1 {
		r.add("%s: leads to something else than the proxy alone", describe(route))
	}
}
