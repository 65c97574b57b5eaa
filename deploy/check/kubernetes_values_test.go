package check

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	dnsLabel = `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`
	dnsName  = dnsLabel + `(\.` + dnsLabel + `)*`
)

// values are what a string may be, by its type. To the decoder every string is
// a Protocol; to an API server TCP, UDP and SCTP are. A type that is missing
// here is a problem, too: nobody thought about what it may be.
var values = map[reflect.Type]*regexp.Regexp{
	reflect.TypeFor[corev1.Protocol]():                         exactly(`TCP|UDP|SCTP`),
	reflect.TypeFor[corev1.ServiceType]():                      exactly(`ClusterIP|LoadBalancer|NodePort`),
	reflect.TypeFor[corev1.SeccompProfileType]():               exactly(`RuntimeDefault`),
	reflect.TypeFor[corev1.Capability]():                       exactly(`ALL`),
	reflect.TypeFor[corev1.PullPolicy]():                       exactly(`Always|IfNotPresent|Never`),
	reflect.TypeFor[corev1.RestartPolicy]():                    exactly(`Always`),
	reflect.TypeFor[corev1.UnsatisfiableConstraintAction]():    exactly(`ScheduleAnyway|DoNotSchedule`),
	reflect.TypeFor[corev1.ResourceName]():                     exactly(`cpu|memory|storage|nvidia\.com/gpu`),
	reflect.TypeFor[corev1.PodFSGroupChangePolicy]():           exactly(`Always|OnRootMismatch`),
	reflect.TypeFor[corev1.PersistentVolumeAccessMode]():       exactly(`ReadWriteOnce|ReadWriteOncePod|ReadWriteMany`),
	reflect.TypeFor[appsv1.DeploymentStrategyType]():           exactly(`RollingUpdate`),
	reflect.TypeFor[metav1.LabelSelectorOperator]():            exactly(`In|NotIn|Exists|DoesNotExist`),
	reflect.TypeFor[autoscalingv2.MetricSourceType]():          exactly(`Resource|Pods|Object|External|ContainerResource`),
	reflect.TypeFor[autoscalingv2.MetricTargetType]():          exactly(`Utilization|Value|AverageValue`),
	reflect.TypeFor[policyv1.UnhealthyPodEvictionPolicyType](): exactly(`IfHealthyBudget|AlwaysAllow`),
	reflect.TypeFor[networkingv1.PolicyType]():                 exactly(`Ingress|Egress`),
	reflect.TypeFor[gatewayv1.ObjectName]():                    exactly(dnsName),
	reflect.TypeFor[gatewayv1.Namespace]():                     exactly(dnsLabel),
	reflect.TypeFor[gatewayv1.SectionName]():                   exactly(dnsName),
	reflect.TypeFor[gatewayv1.Hostname]():                      exactly(`(\*\.)?` + dnsName),
	reflect.TypeFor[gatewayv1.Duration]():                      exactly(`([0-9]{1,5}(h|m|s|ms)){1,4}`),
	reflect.TypeFor[monitoringv1.LabelName]():                  exactly(`[a-zA-Z_][a-zA-Z0-9_]*`),
	reflect.TypeFor[monitoringv1.Duration]():                   exactly(`([0-9]+(y|w|d|h|m|s|ms))+`),
	reflect.TypeFor[types.UID]():                               exactly(``),
}

func exactly(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)$`) }

// checkValues looks at every string in every object that has a type of its own.
func (c *cluster) checkValues(r *report) {
	for _, object := range c.objects {
		walkStrings(reflect.ValueOf(object).Elem(), "", func(path string, v reflect.Value) {
			pattern, known := values[v.Type()]
			if !known {
				r.add("%s: %s: what may a %s be?", describe(object), path, v.Type())
			} else if !pattern.MatchString(v.String()) {
				r.add("%s: %s: %q is no %s", describe(object), path, v.String(), v.Type())
			}
		})
	}
}

// walkStrings visits every string that is set and whose type is not string
// itself, keys of maps among them. What reads itself, such as a quantity, has
// looked at its text already.
func walkStrings(v reflect.Value, path string, visit func(string, reflect.Value)) {
	if _, reads := reflect.New(v.Type()).Interface().(json.Unmarshaler); reads {
		return
	}
	switch v.Kind() {
	case reflect.String:
		if v.Type().PkgPath() != "" && v.Len() > 0 {
			visit(strings.TrimPrefix(path, "."), v)
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walkStrings(v.Elem(), path, visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				walkStrings(v.Field(i), path+"."+strings.ToLower(f.Name[:1])+f.Name[1:], visit)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			walkStrings(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			walkStrings(key, path, visit)
			walkStrings(v.MapIndex(key), fmt.Sprintf("%s.%v", path, key), visit)
		}
	}
}

// describe names an object in a problem.
func describe(object metav1.Object) string {
	return reflect.TypeOf(object).Elem().Name() + "/" + object.GetName()
}
