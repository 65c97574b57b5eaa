package signer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// claims is a key's caveats, read once and in the plainest way, with the standard
// library's parsers and all the memory that these want. Limits is held to it.
type claims struct {
	expires      time.Time
	label        string
	streams, rpm []Budget
	ids          []string
	models       [][]string
	routes       [][]string
	from         [][]netip.Prefix
}

// readClaims reads the caveats of a key that has a key's shape.
func readClaims(text string) (c claims, err error) {
	signed := text[:strings.LastIndexByte(text, '.')]
	words := strings.Split(signed, "~")
	for i, encoded := range words[1:] {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
		if err != nil {
			return c, err
		}
		name, value, ok := strings.Cut(string(raw), "=")
		if !ok {
			return c, errors.New("no equals sign")
		}
		if err := c.add(name, value, strings.Join(words[:i+2], "~")); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *claims) add(name, value, scope string) error {
	count := func(limit int64) (int64, error) {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 1 || n > limit || strconv.FormatInt(n, 10) != value {
			return 0, errors.New("no number")
		}
		return n, nil
	}
	items := strings.Split(value, ",")
	switch name {
	case "exp":
		seconds, err := count(253402300799)
		if t := time.Unix(seconds, 0).UTC(); c.expires.IsZero() || t.Before(c.expires) {
			c.expires = t
		}
		return err
	case "models":
		for i, item := range items {
			unfit := func(r rune) bool {
				return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/*", r)
			}
			if item == "" || len(item) > 600 || strings.ContainsFunc(item, unfit) {
				return errors.New("no pattern")
			}
			items[i] = canonicalPattern(item)
		}
		c.models = append(c.models, items)
	case "routes":
		for _, item := range items {
			if !slices.Contains([]string{"chat", "embed", "models", "admin"}, item) {
				return errors.New("no class")
			}
		}
		c.routes = append(c.routes, items)
	case "from":
		var all []netip.Prefix
		for _, item := range items {
			p, err := referenceNetwork(item)
			if err != nil {
				return err
			}
			all = append(all, p)
		}
		c.from = append(c.from, all)
	case "streams", "rpm":
		n, err := count(1_000_000_000)
		if name == "rpm" {
			c.rpm = append(c.rpm, Budget{scope, int(n)})
		} else {
			c.streams = append(c.streams, Budget{scope, int(n)})
		}
		return err
	case "label":
		if value == "" || len(value) > 128 || !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return errors.New("no label")
		}
		if c.label == "" {
			c.label = value
		}
	case "id":
		if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(value) {
			return errors.New("no UUID of version 7")
		}
		c.ids = append(c.ids, value)
	default:
		return errors.New("no such name")
	}
	return nil
}

func referenceNetwork(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() {
			return netip.Prefix{}, errors.New("an IPv4-mapped network")
		}
		return p.Masked(), nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, errors.New("no network")
	}
	return addr.Unmap().Prefix(addr.Unmap().BitLen())
}

// globMatches tries for each star all that it may stand for.
func globMatches(pattern, name string) bool {
	before, after, star := strings.Cut(pattern, "*")
	name, ok := strings.CutPrefix(name, before)
	if !star || !ok {
		return ok && name == ""
	}
	for i := range len(name) + 1 {
		if globMatches(after, name[i:]) {
			return true
		}
	}
	return false
}

// sameAnswers fails the test if Limits answers anything otherwise than its key's
// claims do.
func sameAnswers(t *testing.T, l Limits, c claims) {
	t.Helper()
	if got := l.Expires(); !got.Equal(c.expires) {
		t.Errorf("expires at %v, not %v", got, c.expires)
	}
	if got := l.Label(); got != c.label {
		t.Errorf("is called %q, not %q", got, c.label)
	}
	if last, ok := l.LastID(); ok != (len(c.ids) > 0) || ok && last.String() != c.ids[len(c.ids)-1] {
		t.Errorf("has the id %v, %t, not the last of %v", last, ok, c.ids)
	}
	if got := slices.Collect(l.Streams); !slices.Equal(got, c.streams) {
		t.Errorf("streams %v, not %v", got, c.streams)
	}
	if got := slices.Collect(l.RPM); !slices.Equal(got, c.rpm) {
		t.Errorf("rpm %v, not %v", got, c.rpm)
	}
	if l.HasBudgets() != (len(c.rpm)+len(c.streams) > 0) || l.LimitsModels() != (len(c.models) > 0) || l.LimitsAddresses() != (len(c.from) > 0) {
		t.Errorf("has budgets %t, limits models %t, addresses %t: the claims are %+v", l.HasBudgets(), l.LimitsModels(), l.LimitsAddresses(), c)
	}
	for _, class := range []Class{Chat, Embed, Models, Admin, ""} {
		want := !slices.ContainsFunc(c.routes, func(list []string) bool { return !slices.Contains(list, string(class)) })
		if l.AllowsClass(class) != want {
			t.Errorf("allows %q: %t", class, !want)
		}
	}
	models := slices.Clone(someModels)
	for _, list := range c.models {
		for _, pattern := range list {
			models = append(models, strings.ReplaceAll(pattern, "*", "x"), strings.ReplaceAll(pattern, "*", ""))
		}
	}
	for _, model := range models {
		want := !slices.ContainsFunc(c.models, func(list []string) bool {
			return !slices.ContainsFunc(list, func(pattern string) bool { return globMatches(pattern, model) })
		})
		if l.AllowsModel(model) != want {
			t.Errorf("allows model %q: %t", model, !want)
		}
	}
	addresses := slices.Clone(someAddresses)
	for _, list := range c.from {
		for _, p := range list {
			addresses = append(addresses, p.Addr(), p.Addr().Prev(), p.Addr().Next())
		}
	}
	for _, addr := range addresses {
		plain := addr.Unmap().WithZone("")
		want := !slices.ContainsFunc(c.from, func(list []netip.Prefix) bool {
			return !slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(plain) })
		})
		if l.AllowsAddress(addr) != want {
			t.Errorf("allows %v: %t", addr, !want)
		}
	}
}

var someModels = []string{"tiny:latest", "tiny:1b", "llama3.2:latest", "qwen3:8b", "alice/tiny:latest", "hf.co/a/b:latest", "a:a", ""}

var someAddresses = []netip.Addr{
	netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("2001:db8::1"),
	netip.MustParseAddr("2001:db8::1%eth0"), netip.MustParseAddr("::"), netip.MustParseAddr("0.0.0.0"), {},
}

// referenceTag makes the tag of a key, given without it, with crypto/hmac.
func referenceTag(secret, signed string) string {
	key := []byte(secret)
	for text := range strings.SplitSeq(signed, "~") {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		key = h.Sum(nil)
	}
	return base64.RawURLEncoding.EncodeToString(key)
}
