package downstream_test

import (
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
)

// TestDescriptorsAreSharedOut such that they suffice for all. Where it is not known
// how many there are, as on Windows, what the operator said still holds.
func TestDescriptorsAreSharedOut(t *testing.T) {
	type counts struct{ connections, requests, upstream int }
	for _, row := range []struct {
		descriptors, connections, requests int // known; wanted
		want                               counts
	}{
		{1 << 20, 10_000, 0, counts{10_000, 1<<20 - 10_100, 1<<20 - 10_100}},
		{20_000, 10_000, 0, counts{9950, 9950, 9950}},
		{20_000, 10_000, 9951, counts{9950, 9950, 9950}},
		{20_000, 10_000, 9949, counts{9950, 9949, 9950}},
		{1024, 10_000, 0, counts{462, 462, 462}},
		{1024, 100, 0, counts{100, 824, 824}},
		{1024, 100, 1, counts{100, 1, 824}},
		{256, 10_000, 0, counts{96, 96, 96}},
		{3, 10_000, 0, counts{1, 2, 2}},

		{0, 10_000, 0, counts{10_000, 0, 0}},
		{0, 100, 1, counts{100, 1, 0}},
		{0, 10_000, 1 << 30, counts{10_000, 1 << 30, 0}},
	} {
		connections, requests, upstream := downstream.Bounds(row.descriptors, row.connections, row.requests)
		if got := (counts{connections, requests, upstream}); got != row.want {
			t.Errorf("of %d descriptors, for %d connections and %d requests: %+v", row.descriptors, row.connections, row.requests, got)
		}
	}
}

// Nothing more is asked for than the process may open, so nothing fails.
func TestTheDescriptorTableGrowsWithinTheLimit(t *testing.T) {
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, most := range []int{math.MinInt, -1, 0, 1, 2, 1000, math.MaxInt} {
		downstream.GrowTable(most, log)
	}
	if said.Len() > 0 {
		t.Error(said.String())
	}
}
