package downstream_test

import (
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
)

// TestBoundsForDescriptors: the limits never add up to more descriptors than the process
// may open. Where their number is not known, as on Windows, the operator's limits hold.
func TestBoundsForDescriptors(t *testing.T) {
	type bounds = downstream.ConnectionBounds
	for _, row := range []struct {
		descriptors, connections, requests int
		want                               bounds
	}{
		{1 << 20, 10_000, 0, bounds{10_000, 1<<20 - 10_100, 1<<20 - 10_100}},
		{20_000, 10_000, 0, bounds{9950, 9950, 9950}},
		{20_000, 10_000, 9951, bounds{9950, 9950, 9950}},
		{20_000, 10_000, 9949, bounds{9950, 9949, 9950}},
		{1024, 10_000, 0, bounds{462, 462, 462}},
		{1024, 100, 0, bounds{100, 824, 824}},
		{1024, 100, 1, bounds{100, 1, 824}},
		{256, 10_000, 0, bounds{96, 96, 96}},
		{3, 10_000, 0, bounds{1, 2, 2}},

		{0, 10_000, 0, bounds{10_000, 0, 0}},
		{0, 100, 1, bounds{100, 1, 0}},
		{0, 10_000, 1 << 30, bounds{10_000, 1 << 30, 0}},
	} {
		if got := downstream.BoundsFor(row.descriptors, row.connections, row.requests); got != row.want {
			t.Errorf("of %d descriptors, for %d connections and %d requests: %+v", row.descriptors, row.connections, row.requests, got)
		}
	}
}

// TestDescriptorTableGrowsWithinTheLimit: no number makes it fail, since it never asks
// for more descriptors than the process may open.
func TestDescriptorTableGrowsWithinTheLimit(t *testing.T) {
	var logged strings.Builder
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, most := range []int{math.MinInt, -1, 0, 1, 2, 1000, math.MaxInt} {
		downstream.GrowDescriptorTable(most, log)
	}
	if logged.Len() > 0 {
		t.Error(logged.String())
	}
}
