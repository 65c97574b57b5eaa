package upstream

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// placementsOf returns n placements of one model, each on a backend of its own.
func placementsOf(n int) []*placement {
	all := make([]*placement, n)
	for i := range all {
		m := &backend{Name: fmt.Sprint("gpu", i), id: uint16(i + 1)}
		m.weight.Store(1)
		m.up.Store(true)
		all[i] = &placement{backend: m}
	}
	return all
}

// TestChooseFollowsThePolicy in random states: what is chosen is up and not excluded,
// and nothing that the policy prefers was passed over.
func TestChooseFollowsThePolicy(t *testing.T) {
	reasons := map[reason]int{}
	for round := range 20_000 {
		r := rand.New(rand.NewPCG(uint64(round), 1))
		placements := placementsOf(1 + r.IntN(6))
		s := &selection{tieBreak: r.Uint32(), last: uint16(r.IntN(len(placements) + 2))}
		for _, o := range placements {
			o.up.Store(r.IntN(5) > 0)
			o.loaded.Store(r.IntN(2) == 0)
			o.weight.Store(1 + r.Int32N(3))
			o.inFlight.Store(r.Int32N(12))
			o.slowStart.Store(r.Int32N(3) / 2)
			o.loadedModels.Store(r.Int32N(3))
			if r.IntN(8) == 0 && s.nExcluded < maxExcluded {
				s.exclude(o.backend)
			}
		}
		got, why := choose(placements, s)
		reasons[why]++

		least := func(loaded bool) (utilization float64, any bool) {
			for _, o := range placements {
				if o.up.Load() && !s.isExcluded(o.backend) && (o.loaded.Load() || !loaded) && (!any || o.utilization() < utilization) {
					utilization, any = o.utilization(), true
				}
			}
			return utilization, any
		}
		leastOfAll, any := least(false)
		leastLoaded, anyLoaded := least(true)
		if !any {
			if got != nil || why != noBackend {
				t.Fatalf("round %d: %v was chosen though none is up", round, got.Name)
			}
			continue
		}
		if got == nil || !got.up.Load() || s.isExcluded(got.backend) {
			t.Fatalf("round %d: %v was chosen, which is down or excluded", round, got)
		}
		var last *placement
		for _, o := range placements {
			if o.id == s.last && o.up.Load() && o.loaded.Load() && !s.isExcluded(o.backend) {
				last = o
			}
		}
		switch {
		case last != nil && last.utilization() <= leastLoaded+sameConversation && last.utilization() <= leastOfAll+sameModel:
			if got != last || why != byAffinity {
				t.Fatalf("round %d: the conversation had to move", round)
			}
		case anyLoaded && leastLoaded <= leastOfAll+sameModel:
			if !got.loaded.Load() || got.utilization() != leastLoaded || why != byLoaded {
				t.Fatalf("round %d: not the least utilized that has the model loaded", round)
			}
		default:
			if got.utilization() != leastOfAll || why != byLeastLoad {
				t.Fatalf("round %d: not the least utilized", round)
			}
			for _, o := range placements {
				if o.up.Load() && !s.isExcluded(o.backend) && o.utilization() == got.utilization() && o.loadedModels.Load() < got.loadedModels.Load() {
					t.Fatalf("round %d: another has fewer models loaded", round)
				}
			}
		}
	}
	for why := noBackend; why <= byLeastLoad; why++ {
		if reasons[why] < 100 {
			t.Errorf("reason %d occurred only %d times: the rounds test little", why, reasons[why])
		}
	}
}

// TestTiesAreSpreadEvenly between equals, even if they are not adjacent.
func TestTiesAreSpreadEvenly(t *testing.T) {
	placements := placementsOf(10)
	for i, o := range placements {
		o.loaded.Store(true)
		if i == 1 || i == 2 || i == 6 {
			o.inFlight.Store(1)
		}
	}
	const rounds, equals = 70_000, 7
	got := map[string]int{}
	for range rounds {
		o, _ := choose(placements, &selection{tieBreak: rand.Uint32()})
		got[o.Name]++
	}
	for name, n := range got {
		if n < rounds/equals*8/10 || n > rounds/equals*12/10 {
			t.Errorf("%s was chosen %d times of %d", name, n, rounds)
		}
	}
	if len(got) != equals {
		t.Errorf("these were chosen: %v", got)
	}
}

// TestRequestsAreSharedByWeight: with requests that never end, each backend has as many
// as its weight says.
func TestRequestsAreSharedByWeight(t *testing.T) {
	placements := placementsOf(3)
	for i, o := range placements {
		o.loaded.Store(true)
		o.weight.Store(int32(i + 1))
	}
	for range 600 {
		o, _ := choose(placements, &selection{tieBreak: rand.Uint32()})
		o.enter()
	}
	for i, o := range placements {
		if n := int(o.inFlight.Load()); n != 100*(i+1) {
			t.Errorf("weight %d has %d requests of 600", i+1, n)
		}
	}
}

func TestChooseAllocatesNothing(t *testing.T) {
	placements := placementsOf(100)
	if n := testing.AllocsPerRun(100, func() { choose(placements, &selection{tieBreak: 7, last: 3}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkChoice measures what choosing adds to a request for a loaded model: finding
// the placements, choosing, counting in and out.
func BenchmarkChoice(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("upstreams=%d", n), func(b *testing.B) {
			pl := &Pool{}
			r := &roster{models: map[string][]*placement{}}
			for i := range 20 {
				r.models[fmt.Sprintf("model%d:latest", i)] = placementsOf(n)
			}
			for _, o := range r.models["model7:latest"] {
				o.loaded.Store(true)
			}
			pl.roster.Store(r)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					var s selection
					o, _ := pl.pick("model7:latest", &s)
					o.leave()
				}
			})
		})
	}
}
