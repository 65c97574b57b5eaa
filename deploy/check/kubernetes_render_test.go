package check

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// kinds are those that we ship. A Secret is not among them: it is the user's
// alone, and never a file in a repository.
var kinds = map[string]reflect.Type{
	"v1 Namespace":                            reflect.TypeFor[corev1.Namespace](),
	"v1 ConfigMap":                            reflect.TypeFor[corev1.ConfigMap](),
	"v1 Service":                              reflect.TypeFor[corev1.Service](),
	"apps/v1 Deployment":                      reflect.TypeFor[appsv1.Deployment](),
	"apps/v1 StatefulSet":                     reflect.TypeFor[appsv1.StatefulSet](),
	"autoscaling/v2 HorizontalPodAutoscaler":  reflect.TypeFor[autoscalingv2.HorizontalPodAutoscaler](),
	"policy/v1 PodDisruptionBudget":           reflect.TypeFor[policyv1.PodDisruptionBudget](),
	"networking.k8s.io/v1 NetworkPolicy":      reflect.TypeFor[networkingv1.NetworkPolicy](),
	"gateway.networking.k8s.io/v1 HTTPRoute":  reflect.TypeFor[gatewayv1.HTTPRoute](),
	"monitoring.coreos.com/v1 PodMonitor":     reflect.TypeFor[monitoringv1.PodMonitor](),
	"monitoring.coreos.com/v1 PrometheusRule": reflect.TypeFor[monitoringv1.PrometheusRule](),
}

// maxObject is what an object may have as JSON: 256 KiB. kubectl apply without
// --server-side, and Argo CD, keep it once more in an annotation, and larger
// annotations are refused.
const maxObject = 256 << 10

// manifests are what kustomize renders, as JSON.
type manifests []json.RawMessage

// renderKustomization does what kubectl apply -k does before it asks a server.
func renderKustomization(t *testing.T, dir string) manifests {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	var all manifests
	for _, resource := range resources.Resources() {
		text, err := resource.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	return all
}

// cluster holds manifests as what they are.
type cluster struct {
	objects []metav1.Object

	// variables are those that the proxy knows.
	variables []string
}

// decode reads manifests as strictly as an API server that was told to: an
// unknown field, a field twice, or a value of the wrong type is a problem.
func decode(all manifests, variables []string) (c *cluster, problems []string) {
	c = &cluster{variables: variables}
	seen := map[string]bool{}
	for _, text := range all {
		var head metav1.PartialObjectMetadata
		if err := json.Unmarshal(text, &head); err != nil {
			problems = append(problems, err.Error())
			continue
		}
		name := head.Kind + "/" + head.Name
		kind, known := kinds[head.APIVersion+" "+head.Kind]
		if !known {
			problems = append(problems, fmt.Sprintf("%s: no kind that belongs here", name))
			continue
		}
		object := reflect.New(kind).Interface().(metav1.Object)
		strict, err := strictjson.UnmarshalStrict(text, object)
		if err != nil {
			strict = append(strict, err)
		}
		for _, err := range strict {
			problems = append(problems, fmt.Sprintf("%s: %v", name, err))
		}
		if seen[name] {
			problems = append(problems, name+": is there twice")
		}
		if len(text) > maxObject {
			problems = append(problems, fmt.Sprintf("%s: %d bytes are more than an annotation holds", name, len(text)))
		}
		seen[name] = true
		c.objects = append(c.objects, object)
	}
	return c, problems
}

// all returns the objects of one type.
func all[T any](c *cluster) (found []*T) {
	for _, object := range c.objects {
		if t, ok := object.(any).(*T); ok {
			found = append(found, t)
		}
	}
	return found
}

// named returns the one object of its type with that name, or nil.
func named[T any](c *cluster, name string) *T {
	for _, object := range c.objects {
		if t, ok := object.(any).(*T); ok && object.GetName() == name {
			return t
		}
	}
	return nil
}

// report collects what is wrong with a cluster.
type report []string

func (r *report) add(format string, values ...any) { *r = append(*r, fmt.Sprintf(format, values...)) }

// check returns all that is wrong with the manifests.
func (all manifests) check(variables []string) []string {
	c, problems := decode(all, variables)
	r := report(problems)
	c.checkValues(&r)
	c.checkNamespace(&r)
	c.checkPods(&r)
	c.checkProxy(&r)
	c.checkReferences(&r)
	c.checkMonitoring(&r)
	c.checkNetwork(&r)
	slices.Sort(r)
	return slices.Compact(r)
}

// join shows problems one a line.
func join(problems []string) string { return "\n\t" + strings.Join(problems, "\n\t") }
