//go:build unix

package kit

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A Scrape is a proxy's metrics at one moment, in Prometheus' text format.
type Scrape string

// ScrapeOf gets the metrics from a private listener at host:port.
func ScrapeOf(address string) Scrape {
	status, page := Fetch("http://" + address + "/metrics")
	if status != http.StatusOK {
		Fatal("the metrics at %s: status %d", address, status)
	}
	return Scrape(page)
}

// Values returns the values of the metric's series that have all of the labels, each written
// as name="value". The name may also be that of one series, with its labels in braces.
func (s Scrape) Values(name string, labels ...string) (values []string) {
	for line := range strings.Lines(string(s)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		family, of, _ := strings.Cut(series, "{")
		if (family == name || series == name) && !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(of, l) }) {
			values = append(values, value)
		}
	}
	return values
}

// Sum returns the sum of [Scrape.Values], and NaN if there are none.
func (s Scrape) Sum(name string, labels ...string) float64 {
	values, sum := s.Values(name, labels...), 0.0
	for _, text := range values {
		value, err := strconv.ParseFloat(text, 64)
		Must(err, "%s in the metrics", name)
		sum += value
	}
	if values == nil {
		return math.NaN()
	}
	return sum
}

// One returns the value of a metric that has exactly one series, as text.
func (s Scrape) One(name string) string {
	values := s.Values(name)
	if len(values) != 1 {
		Fatal("the metrics have %d values of %s", len(values), name)
	}
	return values[0]
}
