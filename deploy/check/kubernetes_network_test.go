package check

import (
	"fmt"
	"net/netip"
	"slices"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// peer is one end of a connection: a pod of the cluster, or an address outside.
type peer struct {
	namespace string
	labels    map[string]string
	address   netip.Addr // of who is no pod
}

func (p peer) String() string {
	if p.address.IsValid() {
		return p.address.String()
	}
	return fmt.Sprintf("a pod %v in %s", p.labels, p.namespace)
}

// attempt is a try to get into a pod, or out of one.
type attempt struct {
	from, to peer
	port     int32
	protocol corev1.Protocol
	pass     bool
}

// checkNetwork lets everyone try to reach everyone who matters.
func (c *cluster) checkNetwork(r *report) {
	for _, policy := range all[networkingv1.NetworkPolicy](c) {
		if len(policy.Spec.PolicyTypes) == 0 {
			r.add("%s: does not say whether it is about egress", describe(policy))
		}
	}
	proxy, ok := c.proxy()
	if !ok {
		return
	}
	const tcp, udp, elsewhere = corev1.ProtocolTCP, corev1.ProtocolUDP, "elsewhere"
	home := proxy.GetNamespace()
	pod := func(namespace, name string) peer {
		return peer{namespace: namespace, labels: map[string]string{"app.kubernetes.io/name": name}}
	}
	address := func(text string) peer { return peer{address: netip.MustParseAddr(text)} }
	ours := peer{namespace: home, labels: proxy.template.Labels}
	dns := peer{namespace: "kube-system", labels: map[string]string{"k8s-app": "kube-dns"}}
	ollama, intruder, client := pod(home, "ollama"), pod(home, "intruder"), pod(elsewhere, "client")
	prometheus, internet := pod("monitoring", "prometheus"), address("203.0.113.7")

	in := []attempt{
		// Keys guard the proxy: everyone may try one.
		{client, ours, 8080, tcp, true},
		{internet, ours, 8080, tcp, true},
		// Its metrics are not for everyone.
		{client, ours, 9464, tcp, false},
		{internet, ours, 9464, tcp, false},
		{ollama, ours, 9464, tcp, false},
		// Nobody but the proxy reaches Ollama, under whatever name.
		{ours, ollama, 22, tcp, false},
		{intruder, ollama, 11434, tcp, false},
		{peer{namespace: home}, ollama, 11434, tcp, false},
		{pod(elsewhere, "ollama-proxy"), ollama, 11434, tcp, false},
		{prometheus, ollama, 11434, tcp, false},
		{internet, ollama, 11434, tcp, false},
		{address("10.0.0.7"), ollama, 11434, tcp, false},
		// Whatever else runs in this namespace is alone.
		{client, intruder, 80, tcp, false},
	}
	out := []attempt{
		{ours, ollama, 11434, tcp, true},
		{ours, ollama, 22, tcp, false},
		{ours, dns, 53, udp, true},
		{ours, dns, 53, tcp, true},
		{ours, dns, 9153, tcp, false},
		{ours, internet, 443, tcp, false},
		{ours, address("169.254.169.254"), 80, tcp, false},
		{ours, pod(elsewhere, "ollama"), 11434, tcp, false},
		{intruder, ollama, 11434, tcp, false},
		{intruder, internet, 443, tcp, false},
	}
	if c.hasOllama() {
		in = append(in, attempt{ours, ollama, 11434, tcp, true})
		out = append(out,
			attempt{ollama, dns, 53, udp, true},
			// It pulls models from the internet, and looks at nothing inside.
			attempt{ollama, internet, 443, tcp, true},
			attempt{ollama, address("2606:4700::1111"), 443, tcp, true},
			attempt{ollama, internet, 25, tcp, false},
			attempt{ollama, address("169.254.169.254"), 443, tcp, false},
			attempt{ollama, address("fd00:ec2::254"), 443, tcp, false},
			attempt{ollama, address("10.96.0.1"), 443, tcp, false},
			attempt{ollama, address("172.20.0.1"), 443, tcp, false},
			attempt{ollama, address("192.168.1.1"), 443, tcp, false},
			attempt{ollama, ours, 8080, tcp, false},
			attempt{ollama, client, 443, tcp, false},
		)
	}
	if len(all[monitoringv1.PodMonitor](c)) > 0 {
		in = append(in, attempt{prometheus, ours, 9464, tcp, true})
	}
	for _, a := range in {
		if pass := c.enters(a); pass != a.pass {
			r.add("in from %v to %v, %s %d: %v", a.from, a.to, a.protocol, a.port, pass)
		}
	}
	for _, a := range out {
		if pass := c.leaves(a); pass != a.pass {
			r.add("out from %v to %v, %s %d: %v", a.from, a.to, a.protocol, a.port, pass)
		}
	}
}

// hasOllama tells whether an Ollama comes with the proxy.
func (c *cluster) hasOllama() bool {
	return slices.ContainsFunc(c.workloads(), func(w workload) bool { return w.GetName() == "ollama" })
}

// enters tells whether the policies let an attempt in, as Kubernetes defines
// it: all, where no policy selects the pod; otherwise what any of them allows.
func (c *cluster) enters(a attempt) bool {
	open := true
	for _, p := range all[networkingv1.NetworkPolicy](c) {
		if !slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) || !isFor(p, a.to) {
			continue
		}
		open = false
		for _, rule := range p.Spec.Ingress {
			if hasPeer(p, rule.From, a.from) && hasPort(rule.Ports, a.port, a.protocol) {
				return true
			}
		}
	}
	return open
}

// leaves tells the same of the way out.
func (c *cluster) leaves(a attempt) bool {
	open := true
	for _, p := range all[networkingv1.NetworkPolicy](c) {
		if !slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) || !isFor(p, a.from) {
			continue
		}
		open = false
		for _, rule := range p.Spec.Egress {
			if hasPeer(p, rule.To, a.to) && hasPort(rule.Ports, a.port, a.protocol) {
				return true
			}
		}
	}
	return open
}

func isFor(p *networkingv1.NetworkPolicy, pod peer) bool {
	return !pod.address.IsValid() && pod.namespace == p.Namespace && matches(&p.Spec.PodSelector, pod.labels)
}

// hasPeer takes everyone where nobody is named.
func hasPeer(p *networkingv1.NetworkPolicy, named []networkingv1.NetworkPolicyPeer, who peer) bool {
	return len(named) == 0 || slices.ContainsFunc(named, func(n networkingv1.NetworkPolicyPeer) bool {
		switch {
		case n.IPBlock != nil:
			return who.address.IsValid() && contains(n.IPBlock.CIDR, who.address) &&
				!slices.ContainsFunc(n.IPBlock.Except, func(except string) bool { return contains(except, who.address) })
		case who.address.IsValid():
			return false
		case n.NamespaceSelector == nil:
			return who.namespace == p.Namespace && matches(n.PodSelector, who.labels)
		}
		return matches(n.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": who.namespace}) &&
			(n.PodSelector == nil || matches(n.PodSelector, who.labels))
	})
}

// hasPort takes every port where none is named. One that has a name is taken
// for none: no policy of ours needs that.
func hasPort(named []networkingv1.NetworkPolicyPort, port int32, protocol corev1.Protocol) bool {
	return len(named) == 0 || slices.ContainsFunc(named, func(n networkingv1.NetworkPolicyPort) bool {
		if n.Protocol != nil && *n.Protocol != protocol || n.Protocol == nil && protocol != corev1.ProtocolTCP {
			return false
		}
		switch {
		case n.Port == nil:
			return true
		case n.EndPort != nil:
			return n.Port.IntVal <= port && port <= *n.EndPort
		}
		return *n.Port == intstr.FromInt32(port)
	})
}

// matches takes everyone where the selector is empty, as policies do.
func matches(selector *metav1.LabelSelector, labels map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labelSet(labels))
}

func contains(network string, address netip.Addr) bool {
	prefix, err := netip.ParsePrefix(network)
	return err == nil && prefix.Contains(address)
}
