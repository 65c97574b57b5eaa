//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// figures are the results of one run.
type figures map[string]float64

// String lists them in an order that is always the same.
func (f figures) String() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		all = append(all, name+" "+number(f[name]))
	}
	return strings.Join(all, ", ")
}

// quantiles adds the median and the 99th percentile, in microseconds, of what
// began in the time.
func (f figures) quantiles(delays []delay, from, to time.Duration) error {
	var took []time.Duration
	for _, d := range delays {
		if from <= d.at && d.at <= to {
			took = append(took, d.took)
		}
	}
	if len(took) == 0 {
		return errors.New("nothing came through in time")
	}
	slices.Sort(took)
	for name, q := range map[string]float64{"p50": 0.5, "p99": 0.99} {
		i := int(math.Ceil(q*float64(len(took)))) - 1
		f[name] = float64(took[i]) / 1e3
	}
	return nil
}

// number is a figure in three digits or as many as stand before the point.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return ""
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
