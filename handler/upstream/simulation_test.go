package upstream

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"testing"
	"time"
)

// A simulation of many Ollamas in virtual time. Each runs a few requests at once and
// queues the others; it holds a few models in memory, and to load another one it evicts
// the one that has been unused for longest.
const (
	simBoxes   = 10 // Ollamas
	simModels  = 20
	simCopies  = 6 // Ollamas that have a model
	simMemory  = 3 // models in the memory of one Ollama
	simSlots   = 2 // requests that one Ollama runs at once
	simTrace   = 20_000
	simRate    = 3.0 // requests a second; all Ollamas together could run 5 if none ever loaded a model
	simAnswer  = 4 * time.Second
	simLoad    = 15 * time.Second
	simUnused  = 5 * time.Minute // until a model is unloaded
	simProbing = probeInterval
)

type simRequest struct {
	model   int
	arrives time.Duration
	takes   time.Duration
	done    func()
}

type simEvent struct {
	at time.Duration
	do func()
}

type simQueue []simEvent

func (q simQueue) Len() int           { return len(q) }
func (q simQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q simQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(e any)        { *q = append(*q, e.(simEvent)) }
func (q *simQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

type simModel struct {
	ready, used time.Duration
	running     int
}

type simBox struct {
	*simulation
	number  int
	has     map[int]bool
	memory  map[int]*simModel
	waiting []*simRequest
	running int
}

type simulation struct {
	now    time.Duration
	events simQueue
	boxes  []*simBox
	loads  int
	waits  []time.Duration
	probe  func(*simBox) // called after a model was loaded
}

func (s *simulation) after(d time.Duration, do func()) {
	heap.Push(&s.events, simEvent{s.now + d, do})
}

// begin starts the queued requests that can run.
func (b *simBox) begin() {
	for len(b.waiting) > 0 && b.running < simSlots {
		r := b.waiting[0]
		m := b.memory[r.model]
		if m == nil {
			if !b.makeRoom() {
				return
			}
			m = &simModel{ready: b.now + simLoad}
			b.memory[r.model] = m
			b.loads++
			b.after(simLoad, func() { b.probe(b) })
		}
		b.waiting = b.waiting[1:]
		b.running++
		m.running++
		first := max(m.ready, b.now)
		b.waits = append(b.waits, first-r.arrives)
		b.after(first-b.now+r.takes, func() {
			b.running--
			m.running--
			m.used = b.now
			r.done()
			b.begin()
		})
	}
}

// makeRoom evicts models that are not in use, and reports whether another one fits.
func (b *simBox) makeRoom() bool {
	oldest := -1
	for model, m := range b.memory {
		if m.running > 0 {
			continue
		}
		if b.now-m.used > simUnused {
			delete(b.memory, model)
		} else if oldest < 0 || m.used < b.memory[oldest].used || m.used == b.memory[oldest].used && model < oldest {
			oldest = model
		}
	}
	if len(b.memory) < simMemory {
		return true
	}
	if oldest < 0 {
		return false
	}
	delete(b.memory, oldest)
	return true
}

// simPolicy chooses an Ollama that has the model. It returns the Ollama, and what to
// call when the request has ended.
type simPolicy func(s *simulation, model int) (box int, done func())

func noop() {}

func candidates(s *simulation, model int) (all []int) {
	for i, b := range s.boxes {
		if b.has[model] {
			all = append(all, i)
		}
	}
	return all
}

func simRandom(r *rand.Rand) simPolicy {
	return func(s *simulation, model int) (int, func()) {
		all := candidates(s, model)
		return all[r.IntN(len(all))], noop
	}
}

func simRoundRobin() simPolicy {
	next := 0
	return func(s *simulation, model int) (int, func()) {
		for {
			next++
			if i := next % simBoxes; s.boxes[i].has[model] {
				return i, noop
			}
		}
	}
}

func simLeastConnections(r *rand.Rand) simPolicy {
	return func(s *simulation, model int) (int, func()) {
		all := candidates(s, model)
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		busy := func(i int) int { return s.boxes[i].running + len(s.boxes[i].waiting) }
		return slices.MinFunc(all, func(a, b int) int { return cmp.Compare(busy(a), busy(b)) }), noop
	}
}

func simName(model int) string { return fmt.Sprintf("model%d:latest", model) }

// simList returns what an Ollama lists.
func simList(b *simBox) (installed, loaded listing) {
	installed, loaded = listing{}, listing{}
	for model := range b.has {
		installed[simName(model)] = false
	}
	for model := range b.memory {
		loaded[simName(model)] = false
	}
	return installed, loaded
}

// simOurs is the pool itself, which learns from probes what is loaded.
func simOurs(s *simulation) simPolicy {
	pl := &Pool{Alone: true}
	pl.roster.Store(&roster{})
	backends := map[*simBox]*backend{}
	for i, b := range s.boxes {
		backends[b] = pl.add(Upstream{Name: fmt.Sprintf("box%02d", i), URL: &url.URL{Scheme: "http", Host: fmt.Sprint("box", i)}, Weight: 1})
	}
	number := map[*backend]int{}
	for b, m := range backends {
		number[m] = b.number
	}
	probe := func(b *simBox) {
		installed, loaded := simList(b)
		pl.setList(backends[b], installed, loaded)
	}
	pl.index()
	for i, b := range s.boxes {
		probe(b)
		var again func()
		again = func() {
			probe(b)
			if len(s.waits) < simTrace {
				s.after(simProbing, again)
			}
		}
		s.after(simProbing*time.Duration(i)/simBoxes, again)
	}
	s.probe = probe
	return func(_ *simulation, model int) (int, func()) {
		o, _ := pl.pick(simName(model), &selection{})
		return number[o.backend], o.leave
	}
}

// simRun runs the requests through a policy.
func simRun(seed uint64, policy func(*simulation) simPolicy) *simulation {
	r := rand.New(rand.NewPCG(seed, 1))
	s := &simulation{probe: func(*simBox) {}}
	for i := range simBoxes {
		s.boxes = append(s.boxes, &simBox{simulation: s, number: i, has: map[int]bool{}, memory: map[int]*simModel{}})
	}
	var popular []float64 // cumulative; the n-th model is requested 1/n as often as the first
	sum := 0.0
	for model := range simModels {
		for _, i := range r.Perm(simBoxes)[:simCopies] {
			s.boxes[i].has[model] = true
		}
		sum += 1 / float64(model+1)
		popular = append(popular, sum)
	}
	choose := policy(s)
	at := time.Duration(0)
	for range simTrace {
		at += time.Duration(r.ExpFloat64() / simRate * float64(time.Second))
		model, _ := slices.BinarySearch(popular, r.Float64()*sum)
		request := &simRequest{model: min(model, simModels-1), arrives: at, takes: time.Duration(r.ExpFloat64() * float64(simAnswer))}
		heap.Push(&s.events, simEvent{at, func() {
			i, done := choose(s, request.model)
			request.done = done
			b := s.boxes[i]
			b.waiting = append(b.waiting, request)
			b.begin()
		}})
	}
	for len(s.events) > 0 {
		e := heap.Pop(&s.events).(simEvent)
		s.now = e.at
		e.do()
	}
	slices.Sort(s.waits)
	return s
}

func (s *simulation) wait(quantile float64) time.Duration {
	return s.waits[int(math.Ceil(quantile*float64(len(s.waits))))-1]
}

// TestChoiceBeatsOtherPolicies: for the same requests, the pool loads fewer models than
// round robin, random choice and least connections, though those also know who has a
// model, and nobody waits longer. The table is in deploy/many-ollamas.md; -v prints it.
func TestChoiceBeatsOtherPolicies(t *testing.T) {
	t.Parallel()
	policies := []struct {
		name string
		make func(*simulation) simPolicy
	}{
		{"ours", simOurs},
		{"least connections", func(*simulation) simPolicy { return simLeastConnections(rand.New(rand.NewPCG(2, 2))) }},
		{"round robin", func(*simulation) simPolicy { return simRoundRobin() }},
		{"random", func(*simulation) simPolicy { return simRandom(rand.New(rand.NewPCG(3, 3))) }},
	}
	table := "\n| policy | models loaded | wait, p50 | p99 |\n|---|---|---|---|\n"
	var ours *simulation
	for _, p := range policies {
		s := simRun(7, p.make)
		if len(s.waits) != simTrace {
			t.Fatalf("%s: %d of %d requests were answered", p.name, len(s.waits), simTrace)
		}
		table += fmt.Sprintf("| %s | %d | %.1f s | %.0f s |\n", p.name, s.loads, s.wait(0.5).Seconds(), s.wait(0.99).Seconds())
		if ours == nil {
			ours = s
			continue
		}
		if ours.loads > s.loads*2/3 || ours.wait(0.5) > s.wait(0.5) || ours.wait(0.99) > s.wait(0.99) {
			t.Errorf("%s is not clearly beaten", p.name)
		}
	}
	t.Log(table)
}
