package signer

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Limits is what a key's caveats leave of its rights. The zero Limits limits
// nothing, nor does a nil one.
type Limits struct {
	Expires time.Time // the earliest exp; zero: never
	Label   string    // the first label
	Streams []Budget  // each must hold
	RPM     []Budget  // each must hold

	// Each element is one caveat: all must hold, and one holds when any of
	// its alternatives does.
	models [][]glob
	routes [][]Class
	from   [][]netip.Prefix
}

// Budget is a count that all keys with the same scope share: the key on which
// the caveat was put, and every key made from it.
type Budget struct {
	Scope string // not secret: the key without its tag, up to the caveat
	N     int    // at least 1
}

// AllowsClass reports whether routes of class c are open to the key as far as
// its caveats go.
func (l *Limits) AllowsClass(c Class) bool {
	if l == nil {
		return true
	}
	for _, allowed := range l.routes {
		if !slices.Contains(allowed, c) {
			return false
		}
	}
	return true
}

// LimitsAddresses reports whether the key is for some addresses only.
func (l *Limits) LimitsAddresses() bool { return l != nil && len(l.from) > 0 }

// AllowsAddress reports whether the key may be used from addr. An
// IPv4-mapped IPv6 address counts as the IPv4 address it is; zones are left out
// of account. The zero Addr, an address that is not known, is inside nothing.
func (l *Limits) AllowsAddress(addr netip.Addr) bool {
	if l == nil {
		return true
	}
	addr = addr.Unmap().WithZone("")
	for _, allowed := range l.from {
		if !slices.ContainsFunc(allowed, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return false
		}
	}
	return true
}

// LimitsModels reports whether the key is for some models only: then a request
// whose model cannot be told must be refused.
func (l *Limits) LimitsModels() bool { return l != nil && len(l.models) > 0 }

// AllowsModel reports whether the key may use the model, given in its canonical
// spelling, see [CanonicalModel].
func (l *Limits) AllowsModel(canonical string) bool {
	if l == nil {
		return true
	}
	for _, allowed := range l.models {
		if !slices.ContainsFunc(allowed, func(g glob) bool { return g.matches(canonical) }) {
			return false
		}
	}
	return true
}

// Class groups routes by what they can do.
type Class string

// The classes of routes. Admin routes are open to OLLAMA-ADMIN- keys only.
const (
	Chat   Class = "chat"
	Embed  Class = "embed"
	Models Class = "models"
	Admin  Class = "admin"
)

func parseClass(s string) (Class, error) {
	switch c := Class(s); c {
	case Chat, Embed, Models, Admin:
		return c, nil
	}
	return "", errUnknownClass
}

// glob is a pattern of canonical model names in which "*" stands for any run
// of characters.
type glob string

// parseGlob canonicalises a pattern as Ollama does a name, so that llama3.2
// means llama3.2:latest. A pattern that ends with "*" stands as it is: its
// star covers the tag.
func parseGlob(s string) (glob, error) {
	if s == "" || len(s) > maxModelName || strings.ContainsFunc(s, unfitForModel) {
		return "", errBadGlob
	}
	return glob(canonicalPattern(s)), nil
}

// matches walks both strings once and goes back to the last star only, so that
// no pattern makes it slow.
func (g glob) matches(name string) bool {
	pattern := string(g)
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
