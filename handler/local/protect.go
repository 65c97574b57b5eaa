package local

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

var (
	errForeignHost   = errors.New("this port serves its own machine only: the Host must be localhost, a loopback address or a container's name for its host")
	errPublicHost    = errors.New("the Host must be an address, or a name that no stranger can own")
	errForeignOrigin = errors.New("this port does not serve web pages of other origins")
)

// containerHosts are the names by which containers reach the machine that runs them
// (Docker, Podman). Nobody can own them: .internal is kept out of the public DNS.
var containerHosts = []string{"host.docker.internal", "gateway.docker.internal", "host.containers.internal"}

// CheckLoopback returns an error if the request may come from a foreign web page, for
// ports on loopback addresses that need no password. A web page can send any request
// here, and if its host name is made to resolve to this machine (DNS rebinding), it can
// also read the response. The browser reveals that in three headers:
//
//   - The Host must be loopback, or the name by which a container reaches its host. A
//     request without a Host comes from no browser.
//   - Each Origin must be of this machine, see [IsLocalOrigin].
//   - Sec-Fetch-Site must not be cross-site, unless there is an Origin: to a browser,
//     localhost and 127.0.0.1 are different sites.
func CheckLoopback(r *http.Request) error {
	host := hostOf(r.Host)
	isContainers := func(name string) bool { return sameName(host, name) }
	if r.Host != "" && !IsLoopback(host) && !slices.ContainsFunc(containerHosts, isContainers) {
		return errForeignHost
	}
	return checkOrigin(r)
}

// CheckNetwork does what [CheckLoopback] does, for ports that other machines may reach.
// The Host may be any address, and any name that no stranger can own: one without a dot,
// or one that ends in .localhost, .local, .internal or .svc.
func CheckNetwork(r *http.Request) error {
	if r.Host != "" && !isOwnHost(hostOf(r.Host)) {
		return errPublicHost
	}
	return checkOrigin(r)
}

// checkOrigin returns an error if the request comes from a page that is not of this
// machine.
func checkOrigin(r *http.Request) error {
	origins := r.Header["Origin"]
	for _, origin := range origins {
		if !IsLocalOrigin(origin) {
			return errForeignOrigin
		}
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if strings.EqualFold(site, "cross-site") && len(origins) == 0 {
			return errForeignOrigin
		}
	}
	return nil
}

var errForeignName = errors.New("ask by address, such as http://127.0.0.1:9464, or allow the name with --metrics-host")

// AllowedHosts are the host names by which the private listener may be addressed, beside
// those that no stranger can own (see [AllowedHosts.Protect]).
type AllowedHosts []string

// Protect wraps a handler whose responses other people's web pages must not read. It
// sets headers against caching, framing and cross-origin use. If a request may come from
// such a page, Protect answers 403: its Host must be an IP address, a name without a
// dot, one that ends in .localhost, .local, .internal or .svc, or one of n; and it must
// not come from another origin, except by a link to / or /metrics that the user follows.
func (n AllowedHosts) Protect(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		if err := n.check(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		h(w, r)
	})
}

// check returns an error if the request may come from somebody else's web page. Such a
// page can send any request, and if its name is made to resolve to this machine (DNS
// rebinding), it can also read the response. Then the Host is its name; it can control
// everything else in the request. So names that a stranger can own are refused unless
// they are in n; addresses, localhost and names outside the public DNS are not. A link
// to / or /metrics may be on any page, because only the user of the browser reads what
// it leads to.
func (n AllowedHosts) check(r *http.Request) error {
	host := hostOf(r.Host)
	if !isOwnHost(host) && !slices.ContainsFunc(n, func(name string) bool { return sameName(host, name) }) {
		return errForeignName
	}
	for _, origin := range r.Header["Origin"] {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return errForeignOrigin
		}
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		linked := (r.URL.Path == "/" || r.URL.Path == "/metrics") && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
		if site != "same-origin" && site != "none" && !linked {
			return errForeignOrigin
		}
	}
	return nil
}

// ParseHosts checks names of hosts, without ports, and returns them. If one is not a
// host name, ParseHosts returns an error.
func ParseHosts(names []string) ([]string, error) {
	for _, name := range names {
		if u, err := url.Parse("http://" + name + "/"); err != nil || name == "" || u.Hostname() != name || strings.Contains(name, "*") {
			return nil, fmt.Errorf("%q is not a host name such as gpu.example.com, without a port", name)
		}
	}
	return names, nil
}

// sameName compares host names without regard to case and a final dot.
func sameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// isOwnHost reports whether a stranger cannot own the host: an address, a name without a
// dot, or one under localhost, local, internal or svc. Ollama accepts the same ones,
// apart from .svc, which ends the names of services in a Kubernetes cluster when
// .cluster.local is left out.
func isOwnHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" {
		return false
	}
	top := host[strings.LastIndexByte(host, '.')+1:]
	return top == host || top == "localhost" || top == "local" || top == "internal" || top == "svc"
}
