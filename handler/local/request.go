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

var errForeignHost = errors.New("this port serves its own machine only: the Host must be localhost or a loopback address")

var (
	errForeignOrigin = errors.New("this port does not serve web pages of other origins")
)

// CheckLoopback returns an error if the request might come from a web page in the
// user's browser. Such a page can send here whatever it likes, and if the name
// that it was loaded from now leads here (DNS rebinding), also read the answer.
// The browser tells by Host, Origin and Sec-Fetch-Site. A request without any
// Host comes from no browser.
func CheckLoopback(r *http.Request) error {
	if r.Host != "" && !IsLoopback(hostOf(r.Host)) {
		return errForeignHost
	}
	for _, origin := range r.Header["Origin"] {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || !IsLoopback(u.Hostname()) {
			return errForeignOrigin
		}
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if strings.EqualFold(site, "cross-site") {
			return errForeignOrigin
		}
	}
	return nil
}

var errForeignName = errors.New("ask by address, such as http://127.0.0.1:9464, or let the name in with --metrics-host")

// OwnNames are names by which the private listener may be asked, beside those that
// no stranger can own.
type OwnNames []string

// Only serves what web pages of others must not see.
func (n OwnNames) Only(h http.HandlerFunc) http.Handler {
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

// check returns an error if the request may come from a web page of somebody
// else. Such a page can ask for anything, and if its own name has come to lead
// here (DNS rebinding) it can also read the answer: then Host is its name, and
// nothing else in the request is beyond its reach. So names that others can own are
// refused unless they are among n, and addresses, localhost and names without a
// place in the world's DNS are not. Links may lead to what is there to read from
// anywhere; then there is nobody to read what comes but the browser's user.
func (n OwnNames) check(r *http.Request) error {
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

// ParseHosts reads names of hosts, without ports. If one is no name, ParseHosts
// returns an error.
func ParseHosts(names []string) ([]string, error) {
	for _, name := range names {
		if u, err := url.Parse("http://" + name + "/"); err != nil || name == "" || u.Hostname() != name || strings.Contains(name, "*") {
			return nil, fmt.Errorf("%q is no name of a host, such as gpu.example.com, without a port", name)
		}
	}
	return names, nil
}

func sameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// isOwnHost reports whether a host of no stranger's can be meant. Ollama takes
// the same ones, and so names that end in .local and .internal; .svc is what names
// in a Kubernetes cluster end in, where .cluster.local is left out.
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
