package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// ollamaPort is where Ollama listens unless it is told otherwise.
const ollamaPort = "11434"

var (
	errUser     = errors.New("there must be no user and no password in it")
	errPath     = errors.New("it must end after host and port: the proxy adds Ollama's own paths")
	errBrackets = errors.New("an IPv6 address stands in brackets, like http://[::1]:11434")
	errNotHost  = errors.New("not an address of Ollama; write it like http://127.0.0.1:11434")
)

// ParseURL reads where an Ollama is: an http or https URL, or a host with or without a
// port, which is 11434 then. An address that only a server can use, such as 0.0.0.0, or
// none before a port, means this machine.
//
// If the text has another scheme, no host, a user, a password or a path, or an IPv6
// address in a URL stands without brackets, ParseURL returns an error. It does not show
// the text, which might hold a password.
func ParseURL(text string) (*url.URL, error) {
	scheme, rest, hasScheme := strings.Cut(strings.TrimSpace(text), "://")
	if !hasScheme {
		scheme, rest = "http", scheme
	}
	rest, err := hostAndPort(scheme, rest)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(rest)
	switch {
	case err == nil:
	case strings.HasPrefix(rest, "[") && strings.HasSuffix(rest, "]"):
		host, port = rest[1:len(rest)-1], defaultPort(scheme, hasScheme)
	case strings.Contains(rest, ":") && hasScheme, rest == "":
		return nil, unbracketed(rest)
	default:
		host, port = rest, defaultPort(scheme, hasScheme)
	}
	return newURL(scheme, host, port)
}

// ParseHost reads the variable OLLAMA_HOST as Ollama itself does: white space and quotes
// around it count for nothing, empty is http://127.0.0.1:11434, and a port that is no
// number from 0 to 65535 is the default one. What Ollama would listen on stands for this
// machine, as in [ParseURL].
//
// Of what Ollama takes, a path, port 0 and a scheme other than http and https are
// errors, and so is what can be no host: nobody can reach an Ollama there.
func ParseHost(value string) (*url.URL, error) {
	value = strings.TrimSpace(strings.Trim(strings.TrimSpace(value), `"'`))
	scheme, rest, hasScheme := strings.Cut(value, "://")
	if !hasScheme {
		scheme, rest = "http", value
		if value == "ollama.com" {
			scheme, hasScheme = "https", true
		}
	}
	rest, err := hostAndPort(scheme, rest)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		host, port = strings.Trim(rest, "[]"), defaultPort(scheme, hasScheme)
	}
	if n, err := strconv.ParseInt(port, 10, 32); err != nil || n < 0 || n > 65535 {
		port = defaultPort(scheme, hasScheme)
	}
	return newURL(scheme, host, port)
}

// hostAndPort returns what follows a scheme, which must be host and port and at most a
// slash.
func hostAndPort(scheme, rest string) (string, error) {
	if scheme != "http" && scheme != "https" {
		return "", fmt.Errorf("%s is not a scheme for Ollama; use http or https", scheme)
	}
	host, path, _ := strings.Cut(rest, "/")
	switch {
	case strings.Contains(rest, "@"):
		return "", errUser
	case path != "", strings.ContainsAny(rest, "?#"):
		return "", errPath
	}
	return host, nil
}

func defaultPort(scheme string, hasScheme bool) string {
	switch {
	case !hasScheme:
		return ollamaPort
	case scheme == "https":
		return "443"
	}
	return "80"
}

func newURL(scheme, host, port string) (*url.URL, error) {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, errors.New("there is no such port; write it like http://127.0.0.1:11434")
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "":
		host = "127.0.0.1"
	case err != nil && !isHostName(host):
		return nil, unbracketed(host)
	case err == nil && addr.Unmap().IsUnspecified():
		host = "127.0.0.1"
		if addr.Unmap().Is6() {
			host = "::1"
		}
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}, nil
}

// unbracketed tells what is wrong with a host.
func unbracketed(host string) error {
	if strings.Contains(host, ":") {
		return errBrackets
	}
	return errNotHost
}

func isHostName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}
