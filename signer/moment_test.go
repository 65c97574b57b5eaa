package signer

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestPeriodsAndMoments are read as people mean them, or refused with what can be
// written.
func TestPeriodsAndMoments(t *testing.T) {
	now := time.Date(2027, 1, 1, 12, 30, 0, 0, time.FixedZone("", 3600))
	for _, c := range []struct{ name, value, want string }{ // wants nothing: refused
		{"expires-in", "30d", "2027-01-31T11:30:00Z"},
		{"expires-in", "4w", "2027-01-29T11:30:00Z"},
		{"expires-in", "1w1d1h", "2027-01-09T12:30:00Z"},
		{"expires-in", "1d12h30m", "2027-01-03T00:00:00Z"},
		{"expires-in", "720h", "2027-01-31T11:30:00Z"},
		{"expires-in", "1.5h", "2027-01-01T13:00:00Z"},
		{"expires-in", "1s", "2027-01-01T11:30:01Z"},
		{"expires-at", "2027-01-31", "2027-01-31T00:00:00Z"},
		{"expires-at", "2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z"},
		{"expires-at", "2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00Z"},

		{"expires-in", "30", ""}, {"expires-in", "", ""}, {"expires-in", "0d", ""}, {"expires-in", "0", ""}, {"expires-in", "-1d", ""},
		{"expires-in", "1d-1h", ""}, {"expires-in", "30 d", ""}, {"expires-in", "30D", ""}, {"expires-in", "1y", ""}, {"expires-in", "6mo", ""},
		{"expires-in", "1d1w", ""}, {"expires-in", "1.5d", ""}, {"expires-in", "99999d", ""}, {"expires-in", "d", ""}, {"expires-in", "300ms", ""},
		{"expires-in", "999w9999d2540000h", ""},
		{"expires-at", "31.01.2027", ""}, {"expires-at", "2027-02-30", ""}, {"expires-at", "2027-1-31", ""}, {"expires-at", "2027-01-31 12:00", ""}, {"expires-at", "", ""},
	} {
		caveat, err := ParseCaveat(c.name, c.value, now)
		if c.want == "" {
			shown := "30d"
			if c.name == "expires-at" {
				shown = "2027-01-31T12:00:00Z"
			}
			if err == nil || !strings.Contains(err.Error(), shown) {
				t.Errorf("%s %q: %v, %v", c.name, c.value, caveat, err)
			}
			continue
		}
		at, parseErr := time.Parse(time.RFC3339, c.want)
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		if err != nil || caveat.Name != "exp" || caveat.Value != strconv.FormatInt(at.Unix(), 10) {
			t.Errorf("%s %q: %v, %v, not %s", c.name, c.value, caveat, err, c.want)
		}
	}
}
