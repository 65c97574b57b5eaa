package check

import (
	"path"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

const (
	// secretName is the Secret that the user makes, as the README says; its one
	// key is secretKey.
	secretName = "ollama-proxy"
	secretKey  = "secret"

	// listName is the ConfigMap with the list of revoked keys. With a hash in
	// its name each change would replace all pods.
	listName = "ollama-proxy-revocations"
)

// workload is what runs pods.
type workload struct {
	metav1.Object
	selector *metav1.LabelSelector
	template corev1.PodTemplateSpec
	claims   []corev1.PersistentVolumeClaim
}

func (c *cluster) workloads() (found []workload) {
	for _, d := range all[appsv1.Deployment](c) {
		found = append(found, workload{d, d.Spec.Selector, d.Spec.Template, nil})
	}
	for _, s := range all[appsv1.StatefulSet](c) {
		found = append(found, workload{s, s.Spec.Selector, s.Spec.Template, s.Spec.VolumeClaimTemplates})
	}
	return found
}

// checkNamespace wants one namespace for all, and no pod in it that is not
// restricted.
func (c *cluster) checkNamespace(r *report) {
	namespaces := all[corev1.Namespace](c)
	if len(namespaces) != 1 {
		r.add("there are %d namespaces", len(namespaces))
		return
	}
	for _, object := range c.objects {
		if object != metav1.Object(namespaces[0]) && object.GetNamespace() != namespaces[0].Name {
			r.add("%s: is in the namespace %q", describe(object), object.GetNamespace())
		}
	}
	security, errs := podsecurity.PolicyToEvaluate(namespaces[0].Labels, podsecurity.Policy{})
	for _, err := range errs {
		r.add("%s: %v", describe(namespaces[0]), err)
	}
	if security.Enforce.Level != podsecurity.LevelRestricted {
		r.add("%s: Pod Security enforces %q", describe(namespaces[0]), security.Enforce.Level)
	}
}

// checkPods holds for the pods of the proxy and of Ollama alike.
func (c *cluster) checkPods(r *report) {
	restricted, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		r.add("%v", err)
		return
	}
	for _, w := range c.workloads() {
		name, spec := describe(w.Object), &w.template.Spec
		level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
		for _, result := range restricted.EvaluatePod(level, &w.template.ObjectMeta, spec) {
			if !result.Allowed {
				r.add("%s: Pod Security: %s: %s", name, result.ForbiddenReason, result.ForbiddenDetail)
			}
		}
		if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
			r.add("%s: its pods get a token for the API server", name)
		}
		if spec.EnableServiceLinks == nil || *spec.EnableServiceLinks {
			r.add("%s: Services put variables among those of the container", name)
		}
		// A name instead of a number: kubelet could not tell that it is not root.
		if c := spec.SecurityContext; c == nil || c.RunAsUser == nil || c.FSGroup == nil {
			r.add("%s: which user and which fsGroup?", name)
		}
		for _, constraint := range spec.TopologySpreadConstraints {
			if !selects(constraint.LabelSelector, w.template.Labels) {
				r.add("%s: its pods are spread among others", name)
			}
		}
		if len(spec.Containers) != 1 || len(spec.InitContainers) != 0 {
			r.add("%s: has other containers than the one that is looked at", name)
			continue
		}
		checkContainer(r, name, &spec.Containers[0])
		c.checkVolumes(r, w)
	}
}

// oneRelease is an image with a tag that stands for one release, or a digest.
var oneRelease = regexp.MustCompile(`^[a-z0-9./-]+(:v?[0-9]+\.[0-9]+\.[0-9]+|@sha256:[0-9a-f]{64})$`)

func checkContainer(r *report, name string, container *corev1.Container) {
	if !oneRelease.MatchString(container.Image) {
		r.add("%s: the image %q is not pinned", name, container.Image)
	}
	if c := container.SecurityContext; c == nil || c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem {
		r.add("%s: its root file system can be written to", name)
	}
	if container.Resources.Requests.Cpu().IsZero() || container.Resources.Requests.Memory().IsZero() {
		r.add("%s: requests no CPU or no memory", name)
	}
	if container.Resources.Limits.Memory().IsZero() || container.Resources.Limits.Memory().Cmp(*container.Resources.Requests.Memory()) < 0 {
		r.add("%s: its memory has no limit, or one below what it requests", name)
	}
	for i, port := range container.Ports {
		for _, other := range container.Ports[:i] {
			if port.Name == other.Name || port.ContainerPort == other.ContainerPort {
				r.add("%s: the port %s is there twice", name, port.Name)
			}
		}
	}
	variables := map[string]bool{}
	for _, v := range container.Env {
		if variables[v.Name] {
			r.add("%s: the variable %s is set twice", name, v.Name)
		}
		variables[v.Name] = true
	}
	probes := map[string]*corev1.Probe{"liveness": container.LivenessProbe, "readiness": container.ReadinessProbe, "startup": container.StartupProbe}
	for kind, probe := range probes {
		switch {
		case probe == nil && kind != "startup":
			r.add("%s: has no %sProbe", name, kind)
		case probe != nil && probe.HTTPGet == nil:
			r.add("%s: its %sProbe asks nothing by HTTP", name, kind)
		case probe != nil && containerPort(container, probe.HTTPGet.Port) == 0:
			r.add("%s: its %sProbe asks a port %s that is not there", name, kind, probe.HTTPGet.Port.String())
		}
	}
}

// containerPort is the number of a port that a container has by that name or
// number, or 0.
func containerPort(container *corev1.Container, port intstr.IntOrString) int32 {
	for _, p := range container.Ports {
		if port.Type == intstr.String && p.Name == port.StrVal || port.Type == intstr.Int && p.ContainerPort == port.IntVal {
			return p.ContainerPort
		}
	}
	return 0
}

// checkVolumes wants every mount to have a volume, every volume what it is
// made of, and secrets to be read by nobody else.
func (c *cluster) checkVolumes(r *report, w workload) {
	name, container := describe(w.Object), &w.template.Spec.Containers[0]
	volumes := map[string]bool{}
	for _, claim := range w.claims {
		volumes[claim.Name] = true
	}
	for _, volume := range w.template.Spec.Volumes {
		volumes[volume.Name] = true
		if volume.Secret != nil || volume.ConfigMap != nil {
			r.add("%s: the volume %s is not projected: the checks do not look into it", name, volume.Name)
		}
		if !slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume.Name }) {
			r.add("%s: nobody mounts the volume %s", name, volume.Name)
		}
		if volume.Projected == nil {
			continue
		}
		if mode := volume.Projected.DefaultMode; mode == nil || *mode&0o337 != 0 || *mode&0o440 != 0o440 {
			r.add("%s: the files of the volume %s should be 0440", name, volume.Name)
		}
		for _, source := range volume.Projected.Sources {
			c.checkSource(r, name, source)
		}
	}
	for _, mount := range container.VolumeMounts {
		if !volumes[mount.Name] {
			r.add("%s: mounts a volume %s that is not there", name, mount.Name)
		}
		if mount.SubPath != "" || mount.SubPathExpr != "" {
			r.add("%s: mounts %s with subPath, and would never see a change", name, mount.Name)
		}
	}
}

func (c *cluster) checkSource(r *report, name string, source corev1.VolumeProjection) {
	switch {
	case source.Secret != nil:
		if source.Secret.Name != secretName || source.Secret.Optional != nil && *source.Secret.Optional {
			r.add("%s: the Secret is to be %s, and must be there", name, secretName)
		}
		for _, item := range source.Secret.Items {
			if item.Key != secretKey || item.Mode != nil {
				r.add("%s: the Secret has no key %s, or is to have a mode of its own", name, item.Key)
			}
		}
	case source.ConfigMap != nil:
		if source.ConfigMap.Optional != nil && *source.ConfigMap.Optional {
			r.add("%s: the ConfigMap %s must be there: without it no key is revoked", name, source.ConfigMap.Name)
		}
		if source.ConfigMap.Name != listName {
			r.add("%s: mounts a ConfigMap %s that is not %s", name, source.ConfigMap.Name, listName)
		}
		config := named[corev1.ConfigMap](c, source.ConfigMap.Name)
		if config == nil {
			r.add("%s: mounts a ConfigMap %s that is not there", name, source.ConfigMap.Name)
			return
		}
		for _, item := range source.ConfigMap.Items {
			if _, there := config.Data[item.Key]; !there {
				r.add("%s: mounts a key %s of the ConfigMap %s that is not there", name, item.Key, config.Name)
			}
		}
	default:
		r.add("%s: projects something else than a Secret or a ConfigMap", name)
	}
}

// files are the paths in a container at which projected files are found.
func files(w workload) (found []string) {
	for _, mount := range w.template.Spec.Containers[0].VolumeMounts {
		for _, volume := range w.template.Spec.Volumes {
			if volume.Name != mount.Name || volume.Projected == nil {
				continue
			}
			for _, source := range volume.Projected.Sources {
				var items []corev1.KeyToPath
				if source.Secret != nil {
					items = source.Secret.Items
				} else if source.ConfigMap != nil {
					items = source.ConfigMap.Items
				}
				for _, item := range items {
					found = append(found, path.Join(mount.MountPath, item.Path))
				}
			}
		}
	}
	return found
}

// selects reports whether a selector is not empty, and takes these labels.
func selects(selector *metav1.LabelSelector, labels map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && !s.Empty() && s.Matches(labelSet(labels))
}

// shortName is a Service's name in a URL's host, which may go on with its
// namespace; "" if the host is elsewhere.
func shortName(host, namespace string) string {
	name, rest, _ := strings.Cut(host, ".")
	if rest == "" || rest == namespace || strings.HasPrefix(rest, namespace+".svc") {
		return name
	}
	return ""
}
