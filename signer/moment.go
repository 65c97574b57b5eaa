package signer

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// ParseMoment reads a time as users write it: RFC 3339, or a date, which stands for its
// first moment in UTC. Anything else is an error.
func ParseMoment(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no moment such as 2027-01-31T12:00:00Z, and no date such as 2027-01-31", text)
}

// weeksAndDays are the units that time.ParseDuration lacks. Three digits of each come to
// 22 years at most.
var weeksAndDays = regexp.MustCompile(`^(?:(\d{1,3})w)?(?:(\d{1,4})d)?`)

// parsePeriod reads a duration as time.ParseDuration does, with weeks and days of 24
// hours before it, such as 30d or 1w12h. If it is less than a second, or has no unit,
// parsePeriod returns an error.
func parsePeriod(text string) (time.Duration, error) {
	m := weeksAndDays.FindStringSubmatch(text)
	weeks, _ := strconv.Atoi(m[1])
	days, _ := strconv.Atoi(m[2])
	d, rest := time.Duration(7*weeks+days)*24*time.Hour, text[len(m[0]):]
	if rest != "" {
		more, err := time.ParseDuration(rest)
		if err != nil || more < 0 || d+more < d {
			return 0, badPeriod(text)
		}
		d += more
	}
	if d < time.Second {
		return 0, badPeriod(text)
	}
	return d, nil
}

func badPeriod(text string) error {
	return fmt.Errorf("%q is no duration from now, such as 90m, 720h, 30d or 4w", text)
}
