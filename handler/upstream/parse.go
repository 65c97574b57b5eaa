package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// ParseURL parses the address of one Ollama as OLLAMA_HOST has it: a URL, or a host with
// or without a port (11434). A wildcard address such as 0.0.0.0, which only a server can
// use, means this machine. If the text has a path, a user or an unknown scheme, or no
// host, ParseURL returns an error, which does not quote it.
func ParseURL(text string) (*url.URL, error) {
	scheme, rest, found := strings.Cut(strings.TrimSpace(text), "://")
	port := map[string]string{"http": "80", "https": "443"}[scheme]
	if !found {
		scheme, rest, port = "http", scheme, "11434"
	}
	if port == "" {
		return nil, fmt.Errorf("%s is not a scheme for Ollama; use http or https", scheme)
	}
	rest = strings.TrimSuffix(rest, "/")
	host := rest
	if h, p, err := net.SplitHostPort(rest); err == nil {
		host, port = h, p
	}
	host = strings.Trim(host, "[]")
	if n, err := strconv.ParseUint(port, 10, 16); host == "" || err != nil || n == 0 || strings.ContainsAny(host, "/?#@ ") {
		return nil, errors.New("not an address of Ollama; write it like http://127.0.0.1:11434")
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Unmap().IsUnspecified() {
		host = "127.0.0.1"
		if addr.Unmap().Is6() {
			host = "::1"
		}
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}, nil
}
