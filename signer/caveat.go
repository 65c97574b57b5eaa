package signer

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Caveat is one condition under which a key holds, such as exp=1767225600.
//
//	name     value                     holds when
//	exp      unix seconds              now < exp
//	models   glob,…                    the request's model matches one
//	routes   class,…                   the route's class is listed
//	from     CIDR or address,…         the client's address is inside
//	streams  n                         at most n requests in flight per replica
//	rpm      n                         at most n requests a minute per replica
//	label    text                      always: it names the key, the first one wins
type Caveat struct{ Name, Value string }

const (
	// maxLabel bounds what a key can add to each log line: 128 bytes.
	maxLabel = 128

	// maxCount bounds streams and rpm; more is as good as no limit.
	maxCount = 1_000_000_000

	// maxExpiry is the last second of year 9999, the last that RFC 3339 can
	// name.
	maxExpiry = 253402300799
)

// NewCaveat returns the caveat name=value. If no caveat has that name, or the
// value does not parse, the error says what would.
func NewCaveat(name, value string) (Caveat, error) {
	c := Caveat{name, value}
	return c, c.addTo(&Limits{}, "")
}

// ParseCaveat reads a caveat as people write it: what NewCaveat takes, and
// "expires-in", a duration from now such as 720h, and "expires-at", a moment
// in RFC 3339, for exp.
func ParseCaveat(name, value string, now time.Time) (Caveat, error) {
	var moment time.Time
	switch name {
	case "expires-in":
		d, err := time.ParseDuration(value)
		if err != nil || d < time.Second {
			return Caveat{}, fmt.Errorf("%q is no duration from now, such as 720h", value)
		}
		moment = now.Add(d)
	case "expires-at":
		var err error
		if moment, err = time.Parse(time.RFC3339, value); err != nil {
			return Caveat{}, fmt.Errorf("%q is no moment such as 2027-01-31T12:00:00Z", value)
		}
	default:
		return NewCaveat(name, value)
	}
	return NewCaveat("exp", strconv.FormatInt(moment.Unix(), 10))
}

// encode gives the caveat as it stands in a key.
func (c Caveat) encode() string { return encoding.EncodeToString([]byte(c.Name + "=" + c.Value)) }

// decodeCaveat reads what encode wrote; the caller has seen to it that encoded
// holds only base64url characters.
func decodeCaveat(encoded string) (Caveat, error) {
	text, err := encoding.DecodeString(encoded)
	if err != nil {
		return Caveat{}, errors.New("not base64url")
	}
	name, value, ok := strings.Cut(string(text), "=")
	if !ok {
		return Caveat{}, errors.New("not name=value")
	}
	return Caveat{name, value}, nil
}

// addTo narrows l by the caveat. Scope is the key up to and with this caveat:
// all keys made from it share what it counts.
func (c Caveat) addTo(l *Limits, scope string) error {
	switch c.Name {
	case "exp":
		seconds, err := parseNumber(c.Value, maxExpiry)
		if err != nil {
			return fmt.Errorf("exp: %w of seconds since 1970", err)
		}
		if t := time.Unix(seconds, 0).UTC(); l.Expires.IsZero() || t.Before(l.Expires) {
			l.Expires = t
		}
	case "models":
		globs, err := parseList(c.Value, parseGlob)
		if err != nil {
			return fmt.Errorf("models: %w", err)
		}
		l.models = append(l.models, globs)
	case "routes":
		classes, err := parseList(c.Value, parseClass)
		if err != nil {
			return fmt.Errorf("routes: %w", err)
		}
		l.routes = append(l.routes, classes)
	case "from":
		prefixes, err := parseList(c.Value, parsePrefix)
		if err != nil {
			return fmt.Errorf("from: %w", err)
		}
		l.from = append(l.from, prefixes)
	case "streams":
		n, err := parseNumber(c.Value, maxCount)
		if err != nil {
			return fmt.Errorf("streams: %w, such as 2", err)
		}
		l.Streams = append(l.Streams, Budget{scope, int(n)})
	case "rpm":
		n, err := parseNumber(c.Value, maxCount)
		if err != nil {
			return fmt.Errorf("rpm: %w, such as 60", err)
		}
		l.RPM = append(l.RPM, Budget{scope, int(n)})
	case "label":
		if c.Value == "" || len(c.Value) > maxLabel || !utf8.ValidString(c.Value) || strings.ContainsFunc(c.Value, unfitForLabel) {
			return fmt.Errorf("label: not 1 to %d bytes of printable text", maxLabel)
		}
		if l.Label == "" {
			l.Label = c.Value
		}
	default:
		return errors.New("no such caveat: there are exp, models, routes, from, streams, rpm and label")
	}
	return nil
}

// unfitForLabel keeps out what could forge a log line or hide in one: control
// characters, line separators, bidirectional marks.
func unfitForLabel(r rune) bool { return !unicode.IsPrint(r) }

// parseNumber reads a count of 1 to limit in its one spelling, without sign or leading
// zeros.
func parseNumber(s string, limit int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > limit || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("not a whole number from 1 to %d", limit)
	}
	return n, nil
}

func parseList[T any](list string, parse func(string) (T, error)) ([]T, error) {
	var out []T
	for item := range strings.SplitSeq(list, ",") {
		v, err := parse(item)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// parsePrefix reads a network. An address with a zone is refused: a zone means
// something on one machine only.
func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() {
			return netip.Prefix{}, errors.New("write an IPv4 network as such, like 10.0.0.0/8")
		}
		return p.Masked(), nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, errors.New("not networks such as 10.0.0.0/8,2001:db8::/32")
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}
