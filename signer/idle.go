package signer

import (
	"net/netip"
	"strings"
	"time"
)

// Idle says why a key that says this can do nothing at the time now, in words that
// begin a line: its caveats contradict each other, it has expired, or it is for routes
// that it cannot reach. If nothing is seen to stand in its way, Idle returns "". It is
// for whoever makes a key; it finds what is always so, not what a proxy's own
// settings refuse.
func (u Unverified) Idle(now time.Time) string {
	if expires := u.Limits.Expires(); !expires.IsZero() && !now.Before(expires) {
		return "it expired at " + expires.Format(time.RFC3339)
	}
	byName := map[string][][]string{}
	for _, c := range u.Caveats {
		byName[c.Name] = append(byName[c.Name], strings.Split(c.Value, ","))
	}
	if why := u.noRoute(); why != "" {
		return why
	}
	if neverMeet(byName["models"], func(a, b string) bool {
		return patternsMeet(string(glob(a).appendCanonical(nil)), string(glob(b).appendCanonical(nil)))
	}) {
		return "no model fits both of its lists of models"
	}
	if noAddress(byName["from"]) {
		return "no address is in all of its lists of networks"
	}
	return ""
}

// noRoute says why no class of routes is open to the key.
func (u Unverified) noRoute() string {
	for _, class := range []Class{Chat, Embed, Models} {
		if u.Limits.AllowsClass(class) {
			return ""
		}
	}
	switch {
	case !u.Limits.AllowsClass(Admin):
		return "no class of routes is in all of its lists of routes"
	case !u.Admin:
		return "it is for the routes of class admin alone, which only keys made with mint --admin reach"
	}
	return ""
}

// neverMeet reports whether there are two lists of which no item of the one meets an
// item of the other.
func neverMeet(lists [][]string, meet func(a, b string) bool) bool {
	for i, list := range lists {
		for _, other := range lists[:i] {
			found := false
			for _, a := range list {
				for _, b := range other {
					found = found || meet(a, b)
				}
			}
			if !found {
				return true
			}
		}
	}
	return false
}

// patternsMeet reports whether there is a text that fits both patterns, in which "*"
// stands for any run of characters.
func patternsMeet(a, b string) bool {
	// meets[j] is whether the patterns from i and from j on meet.
	meets := make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		diagonal := false // of i+1 and j+1
		for j := len(b); j >= 0; j-- {
			below := meets[j] // of i+1 and j
			switch {
			case i == len(a) && j == len(b):
				meets[j] = true
			case i < len(a) && a[i] == '*':
				meets[j] = below || j < len(b) && meets[j+1]
			case j < len(b) && b[j] == '*':
				meets[j] = meets[j+1] || i < len(a) && below
			default:
				meets[j] = i < len(a) && j < len(b) && a[i] == b[j] && diagonal
			}
			diagonal = below
		}
	}
	return meets[0]
}

// noAddress reports whether no address is in a network of each list.
func noAddress(lists [][]string) bool {
	if len(lists) == 0 {
		return false
	}
	left := networksOf(lists[0])
	for _, list := range lists[1:] {
		var both []netip.Prefix
		for _, a := range left {
			for _, b := range networksOf(list) {
				if a.Overlaps(b) { // then one holds the other
					if a.Bits() < b.Bits() {
						both = append(both, b)
					} else {
						both = append(both, a)
					}
				}
			}
		}
		left = both
	}
	return len(left) == 0
}

func networksOf(list []string) (all []netip.Prefix) {
	for _, text := range list {
		if network, err := parseNetwork([]byte(text)); err == nil {
			all = append(all, network)
		}
	}
	return all
}
