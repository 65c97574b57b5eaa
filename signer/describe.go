package signer

import (
	"fmt"
	"strings"
	"time"
)

// Words says in plain words what the key claims, one line a fact, for people.
func (u Unverified) Words() []string {
	lines := []string{"id: " + u.ID.String()}
	if at, ok := u.Minted(); ok {
		lines = append(lines, "minted: "+at.Format(time.RFC3339))
	} else {
		lines = append(lines, "minted: its UUID does not say when")
	}
	if u.Admin {
		lines = append(lines, "routes: all, the management routes among them")
	} else {
		lines = append(lines, "routes: all but the management routes")
	}
	labelled := false
	for _, c := range u.Caveats {
		words := c.Words()
		if c.Name == "label" {
			if labelled {
				words += " (but the first one counts)"
			}
			labelled = true
		}
		lines = append(lines, words)
	}
	return lines
}

// Words says in plain words what the caveat asks for.
func (c Caveat) Words() string {
	list := strings.ReplaceAll(c.Value, ",", ", ")
	switch c.Name {
	case "exp":
		if seconds := parseNumber([]byte(c.Value), maxExpiry); seconds > 0 {
			return "until: " + time.Unix(seconds, 0).UTC().Format(time.RFC3339)
		}
	case "models":
		return "only models: " + list
	case "routes":
		return "only routes: " + list
	case "from":
		return "only from: " + list
	case "streams":
		return "at most: " + c.Value + " requests at once on each replica"
	case "rpm":
		return "at most: " + c.Value + " requests a minute on each replica"
	case "label":
		return "label: " + c.Value
	case "id":
		return "narrowed: unless its id " + c.Value + " is revoked"
	}
	return fmt.Sprintf("unknown caveat: %q", c.Name)
}

// Report says the same for programs, as values that encode to JSON.
func (u Unverified) Report() map[string]any {
	caveats := []map[string]string{}
	for _, c := range u.Caveats {
		caveats = append(caveats, map[string]string{"name": c.Name, "value": c.Value})
	}
	report := map[string]any{"id": u.ID.String(), "admin": u.Admin, "caveats": caveats}
	if at, ok := u.Minted(); ok {
		report["minted_at"] = at.Format(time.RFC3339)
	}
	if expires := u.Limits.Expires(); !expires.IsZero() {
		report["expires_at"] = expires.Format(time.RFC3339)
	}
	if last, ok := u.Limits.LastID(); ok {
		report["narrowed_id"] = last.String()
	}
	if label := u.Limits.Label(); label != "" {
		report["label"] = label
	}
	return report
}
