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

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// Upstream is an Ollama, or as many as its host has addresses.
type Upstream struct {
	Name     string   // in logs and metrics, and for those who manage it
	URL      *url.URL // scheme and host
	Weight   int      // how many requests it takes for one of another's with weight 1
	Discover bool     // each address of the host is an Ollama

	address      string            // in place of the URL's host: one of those
	RoundTripper http.RoundTripper // nil: a transport of its own
}

// shortDialTimeout bounds how long connecting to one of several Ollamas may take:
// there are others.
const shortDialTimeout = 3 * time.Second

func (u Upstream) transport() http.RoundTripper {
	if u.RoundTripper != nil {
		return u.RoundTripper
	}
	t := transport.NewAt(u.URL, cmp.Or(u.address, u.URL.Host))
	t.Dialer.Timeout = shortDialTimeout
	return t
}

const (
	// maxWeight is the most that one Ollama may count for beside another.
	maxWeight = 1000

	// maxUpstreams bounds how many there may be, and so how many series the
	// metrics may have of them.
	maxUpstreams = 1000

	// maxUpstreamName is how long a name may be.
	maxUpstreamName = 64
)

// Parse reads where Ollamas are. Each part is a URL as [ParseUpstream]
// takes it, or a name, "=" and such a URL with its scheme. A part "weight=N", N
// from 1 to 1000, belongs to the URL before it. Whoever has no name goes by host
// and port. A scheme that begins with "dns+" says that each address of the host
// is an Ollama.
//
// If there is no URL, a part is none of these, or two have the same name or lead
// to the same place, ParseUpstreams returns an error.
func Parse(parts []string) ([]Upstream, error) {
	var all []Upstream
	weighed := false // the last one
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

// addUpstream adds one that is not there yet.
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

// entry is the name of what it was made from.
func (u Upstream) entry() string {
	name, _, _ := strings.Cut(u.Name, "@")
	return name
}

// String is how the Ollama is written, without its weight.
func (u Upstream) String() string { return u.Name + "=" + u.URL.String() }

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

func parseOne(part, key, value string, named bool) (u Upstream, err error) {
	switch {
	case !named:
		if err = u.parseURL(part); err == nil {
			u.Name = u.URL.Host
		}
	case !isUpstreamName(key):
		err = fmt.Errorf("%q is no name for an Ollama: use up to %d letters, digits, dots, dashes and underscores", key, maxUpstreamName)
	case !strings.Contains(value, "://"):
		// It may be a slip of the pen in weight=2 as well as a host.
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
	u.URL, err = ParseURL(text)
	if err == nil && u.Discover && net.ParseIP(u.URL.Hostname()) != nil {
		err = fmt.Errorf("dns+%s is an address already; leave dns+ out", u.URL)
	}
	return err
}

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
