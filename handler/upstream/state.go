package upstream

import (
	"maps"
	"slices"
)

// State is what the proxy knows about one Ollama.
type State struct {
	Name     string
	Up       bool     // the last probe or request reached it
	Weight   int      // its share of the requests, relative to the others'
	InFlight int      // requests of this proxy; 0 for a single Ollama
	Models   []string // canonical names, sorted
	Loaded   []string // those of Models that are in memory or being loaded
}

// States returns the state of each Ollama, sorted by name.
func (pl *Pool) States() []State {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	all := make([]State, 0, len(pl.backends))
	for _, b := range pl.backends {
		s := State{Name: b.Name, Up: b.probed && b.up.Load(), Weight: int(b.weight.Load()), InFlight: int(b.inFlight.Load())}
		for _, model := range slices.Sorted(maps.Keys(b.placements)) {
			if model == "" {
				continue
			}
			s.Models = append(s.Models, model)
			if b.placements[model].loaded.Load() {
				s.Loaded = append(s.Loaded, model)
			}
		}
		all = append(all, s)
	}
	return all
}
