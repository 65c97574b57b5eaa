package upstream

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/endpoint"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// Upstream is one Ollama, or, with Discover, one for each address of a host.
type Upstream struct {
	Name     string   // for logs, metrics and those who manage it; unique
	URL      *url.URL // scheme and host
	Weight   int      // how many requests it gets for each one of an Ollama with weight 1; 1 to 1000
	Discover bool     // each address of the URL's host is an Ollama

	address      string            // one of those, with a port; "": the URL's host
	RoundTripper http.RoundTripper // nil: a Transport of its own
}

// shortDialTimeout bounds opening a connection to one of several Ollamas, since there
// are others.
const shortDialTimeout = 3 * time.Second

// transport returns the RoundTripper to the Ollama.
func (u Upstream) transport() http.RoundTripper {
	if u.RoundTripper != nil {
		return u.RoundTripper
	}
	t := transport.NewAt(u.URL, cmp.Or(u.address, u.URL.Host))
	t.Dialer.Timeout = shortDialTimeout
	return t
}

const (
	// maxWeight bounds a weight.
	maxWeight = 1000

	// maxUpstreams bounds the number of entries, and with it the number of metric
	// series.
	maxUpstreams = 1000

	// maxUpstreamName bounds a name, in bytes.
	maxUpstreamName = 64
)

// Parse parses a list of Ollamas. Each part is a URL as [endpoint.ParseURL] accepts it, or a
// name, "=" and a URL with its scheme. A part "weight=N", N from 1 to 1000, applies to
// the URL before it. Without a name, an Ollama is called by host and port. A scheme that
// begins with "dns+" sets Discover.
//
// If there is no URL, more than 1,000 of them, a malformed part, or two parts with the
// same name or URL, Parse returns an error.
func Parse(parts []string) ([]Upstream, error) {
	var all []Upstream
	weighed := false // the last one has a weight
	for _, part := range parts {
		part = strings.TrimSpace(part)
		key, value, named := strings.Cut(part, "=")
		if key == "weight" && named {
			if err := setWeight(all, weighed, value); err != nil {
				return nil, err
			}
			weighed = true
			continue
		}
		u, err := parseOne(part, key, value, named)
		if err != nil {
			return nil, err
		}
		if all, err = addUpstream(all, u); err != nil {
			return nil, err
		}
		weighed = false
	}
	if len(all) == 0 {
		return nil, errors.New("no Ollama is named; write it like http://127.0.0.1:11434")
	}
	return all, nil
}

// FromHost returns the one Ollama that the variable OLLAMA_HOST names, see [endpoint.ParseHost].
func FromHost(value string) ([]Upstream, error) {
	u, err := endpoint.ParseHost(value)
	if err != nil {
		return nil, err
	}
	return []Upstream{{Name: u.Host, URL: u, Weight: 1}}, nil
}

// addUpstream appends u, unless its name or URL is taken.
func addUpstream(all []Upstream, u Upstream) ([]Upstream, error) {
	for _, other := range all {
		if other.Name == u.Name || *other.URL == *u.URL {
			return nil, fmt.Errorf("%s and %s are the same Ollama, or have the same name", other, u)
		}
	}
	if len(all) == maxUpstreams {
		return nil, fmt.Errorf("there are more than %d Ollamas", maxUpstreams)
	}
	return append(all, u), nil
}

// entry returns the name of the entry that the Ollama belongs to.
func (u Upstream) entry() string {
	name, _, _ := strings.Cut(u.Name, "@")
	return name
}

// String returns the Ollama as Parse accepts it, without its weight.
func (u Upstream) String() string { return u.Name + "=" + u.URL.String() }

// setWeight sets the weight of the last Ollama.
func setWeight(all []Upstream, weighed bool, text string) error {
	switch n, err := strconv.Atoi(text); {
	case len(all) == 0:
		return fmt.Errorf("weight=%s stands before any URL; write it after one, like http://10.0.0.5:11434,weight=2", text)
	case weighed:
		return fmt.Errorf("%s has two weights", all[len(all)-1])
	case err != nil || n < 1 || n > maxWeight:
		return fmt.Errorf("weight=%s is not from weight=1 to weight=%d", text, maxWeight)
	default:
		all[len(all)-1].Weight = n
		return nil
	}
}

// parseOne parses a part that is not a weight.
func parseOne(part, key, value string, named bool) (u Upstream, err error) {
	switch {
	case !named:
		if err = u.parseURL(part); err == nil {
			u.Name = u.URL.Host
		}
	case !isUpstreamName(key):
		err = fmt.Errorf("%q is not a name for an Ollama: use up to %d letters, digits, dots, dashes and underscores", key, maxUpstreamName)
	case !strings.Contains(value, "://"):
		// It may be a typing error in weight=2 as well as a host.
		err = fmt.Errorf("%s=: after a name comes a URL with its scheme, like %[1]s=http://10.0.0.5:11434, and after that nothing but weight=N", key)
	default:
		u.Name = key
		err = u.parseURL(value)
	}
	u.Weight = 1
	return u, err
}

func (u *Upstream) parseURL(text string) (err error) {
	text, u.Discover = strings.CutPrefix(text, "dns+")
	u.URL, err = endpoint.ParseURL(text)
	if err == nil && u.Discover && net.ParseIP(u.URL.Hostname()) != nil {
		err = fmt.Errorf("dns+%s is an address already; leave dns+ out", u.URL)
	}
	return err
}

// isUpstreamName reports whether s can be the name of an Ollama.
func isUpstreamName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return s != "" && len(s) <= maxUpstreamName
}
