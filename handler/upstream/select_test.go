package upstream

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// offersOf makes n offers of one model, each on a member of its own.
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

// TestChooseKeepsToThePolicy whatever the state of things: what is chosen is up
// and untried, and nobody who comes before it in the policy was passed over.
func TestChooseKeepsToThePolicy(t *testing.T) {
	reasons := map[reason]int{}
	for round := range 20_000 {
		r := rand.New(rand.NewPCG(uint64(round), 1))
		placements := placementsOf(1 + r.IntN(6))
		w := &selection{tieBreak: r.Uint32(), last: uint16(r.IntN(len(placements) + 2))}
		for _, o := range placements {
			o.up.Store(r.IntN(5) > 0)
			o.loaded.Store(r.IntN(2) == 0)
			o.weight.Store(1 + r.Int32N(3))
			o.inFlight.Store(r.Int32N(12))
			o.slowStart.Store(r.Int32N(3) / 2)
			o.loadedModels.Store(r.Int32N(3))
			if r.IntN(8) == 0 && w.nExcluded < maxExcluded {
				w.exclude(o.backend)
			}
		}
		got, why := choose(placements, w)
		reasons[why]++

		least := func(loaded bool) (utilization float64, any bool) {
			for _, o := range placements {
				if o.up.Load() && !w.isExcluded(o.backend) && (o.loaded.Load() || !loaded) && (!any || o.utilization() < utilization) {
					utilization, any = o.utilization(), true
				}
			}
			return utilization, any
		}
		leastOfAll, any := least(false)
		leastLoaded, anyLoaded := least(true)
		if !any {
			if got != nil || why != noBackend {
				t.Fatalf("round %d: %v was chosen of nobody", round, got.Name)
			}
			continue
		}
		if got == nil || !got.up.Load() || w.isExcluded(got.backend) {
			t.Fatalf("round %d: chosen was %v, down or tried", round, got)
		}
		var last *placement
		for _, o := range placements {
			if o.id == w.last && o.up.Load() && o.loaded.Load() && !w.isExcluded(o.backend) {
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
				t.Fatalf("round %d: not the least busy that has the model loaded", round)
			}
		default:
			if got.utilization() != leastOfAll || why != byLeastLoad {
				t.Fatalf("round %d: not the least busy", round)
			}
			for _, o := range placements {
				if o.up.Load() && !w.isExcluded(o.backend) && o.utilization() == got.utilization() && o.loadedModels.Load() < got.loadedModels.Load() {
					t.Fatalf("round %d: another has more room for a model", round)
				}
			}
		}
	}
	for why := noBackend; why <= byLeastLoad; why++ {
		if reasons[why] < 100 {
			t.Errorf("reason %d was there %d times only: the rounds say little", why, reasons[why])
		}
	}
}

// TestTiesSpread: of equals each gets its share, also where they do not stand
// beside each other.
func TestTiesSpread(t *testing.T) {
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
		t.Errorf("chosen were %v", got)
	}
}

// TestWeightsAreShares: with requests that never end, each member has as many as
// its weight says.
func TestWeightsAreShares(t *testing.T) {
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

// BenchmarkChoice is all that is added to a request for a model that is loaded:
// finding the offers, choosing, counting in and out.
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
					var w selection
					o, _ := pl.pick("model7:latest", &w)
					o.leave()
				}
			})
		})
	}
}
