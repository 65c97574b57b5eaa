package upstream

// How much busier than the least busy one a backend may be, in requests in flight
// for each unit of weight, and still be chosen for what it has in memory.
const (
	// sameConversation is for the backend that served a conversation last: Ollama has
	// its beginning in the prompt cache, but one that waits for its turn
	// gains nothing by that.
	sameConversation = 1

	// sameModel is for those that have the model loaded. To load it elsewhere
	// takes as long as some answers do, and pushes another model out.
	sameModel = 8
)

// maxExcluded is how many backends a request may come back from.
const maxExcluded = 4

// selection is what a request wants of the choice.
type selection struct {
	last      uint16 // id of the backend that served its conversation last; 0: none
	tieBreak  uint32 // decides between equals
	excluded  [maxExcluded]*backend
	nExcluded int
}

// exclude notes that the backend is not to be chosen again. It reports whether any
// other may be.
func (s *selection) exclude(b *backend) bool {
	s.excluded[s.nExcluded] = b
	s.nExcluded++
	return s.nExcluded < maxExcluded
}

func (s *selection) isExcluded(b *backend) bool {
	for _, e := range s.excluded[:s.nExcluded] {
		if e == b {
			return true
		}
	}
	return false
}

// reason is why a backend was chosen.
type reason int

const (
	noBackend   reason = iota // is up that has it
	byAffinity                // it served the conversation last
	byLoaded                  // it has the model loaded
	byLeastLoad               // it is the least busy, and has to load the model
)

// best is the least busy placement so far; of equals the one on the backend with
// fewer models in memory, if that counts, or else the tie-break decides.
type best struct {
	*placement
	utilization  float64
	modelsLoaded int32
	tie          uint32
}

func (b *best) consider(p *placement, utilization float64, modelsLoaded int32, tie uint32) {
	switch {
	case b.placement == nil, utilization < b.utilization,
		utilization == b.utilization && modelsLoaded < b.modelsLoaded,
		utilization == b.utilization && modelsLoaded == b.modelsLoaded && mix(tie) < mix(b.tie):
		*b = best{p, utilization, modelsLoaded, tie}
	}
}

// mix is the finalizer of MurmurHash3: numbers side by side come far apart.
func mix(n uint32) uint32 {
	n ^= n >> 16
	n *= 0x85ebca6b
	n ^= n >> 13
	n *= 0xc2b2ae35
	return n ^ n>>16
}

// choose gives the placement that is to have the next request: among those on backends
// that are up, the one that served the conversation last, as long as it is hardly
// busier than the others that have the model loaded; or else the least busy of
// those, as long as it is not so much busier than the others that loading the
// model there would be quicker; or else the least busy of all. Busy is who has
// more requests in flight for its weight. It changes nothing, takes no lock and
// allocates nothing.
func choose(placements []*placement, s *selection) (*placement, reason) {
	var all, loaded best
	var last *placement
	var lastUtilization float64
	for i, p := range placements {
		if !p.up.Load() || s.nExcluded > 0 && s.isExcluded(p.backend) {
			continue
		}
		utilization, tie := p.utilization(), s.tieBreak+uint32(i)
		all.consider(p, utilization, p.loadedModels.Load(), tie)
		if !p.loaded.Load() {
			continue
		}
		loaded.consider(p, utilization, 0, tie)
		if p.id == s.last {
			last, lastUtilization = p, utilization
		}
	}
	switch {
	case all.placement == nil:
		return nil, noBackend
	case last != nil && lastUtilization <= loaded.utilization+sameConversation && lastUtilization <= all.utilization+sameModel:
		return last, byAffinity
	case loaded.placement != nil && loaded.utilization <= all.utilization+sameModel:
		return loaded.placement, byLoaded
	}
	return all.placement, byLeastLoad
}
