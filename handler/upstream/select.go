package upstream

// A backend is chosen for what it has in memory if its utilization (requests in flight
// per unit of weight) is at most this much higher than that of the least utilized one.
const (
	// sameConversation is for the backend that served the conversation last: it has the
	// beginning in its prompt cache, but that gains nothing for a request that must
	// wait.
	sameConversation = 1

	// sameModel is for backends that have the model loaded. Loading it elsewhere takes
	// as long as some responses do, and evicts another model.
	sameModel = 8
)

// maxExcluded is how many backends may be tried for a request.
const maxExcluded = 4

// selection is what a request brings to a choice.
type selection struct {
	last      uint16                // the id of the backend that served the conversation last; 0: none
	tieBreak  uint32                // random: decides between equals
	excluded  [maxExcluded]*backend // the first nExcluded must not be chosen again
	nExcluded int
}

// exclude excludes a backend from the choice. It reports whether another one may be
// tried.
func (s *selection) exclude(b *backend) bool {
	s.excluded[s.nExcluded] = b
	s.nExcluded++
	return s.nExcluded < maxExcluded
}

// isExcluded reports whether the backend is excluded.
func (s *selection) isExcluded(b *backend) bool {
	for _, e := range s.excluded[:s.nExcluded] {
		if e == b {
			return true
		}
	}
	return false
}

// reason says why a backend was chosen.
type reason int

const (
	noBackend   reason = iota // none was: no backend that has the model is up
	byAffinity                // it served the conversation last
	byLoaded                  // it has the model loaded
	byLeastLoad               // it is the least utilized, and must load the model
)

// best is the least utilized placement so far. Between equals it is the one whose
// backend has fewer models loaded, if that counts; then the tie-break decides.
type best struct {
	*placement
	utilization  float64
	modelsLoaded int32
	tie          uint32
}

// consider replaces the best placement if p is better.
func (b *best) consider(p *placement, utilization float64, modelsLoaded int32, tie uint32) {
	switch {
	case b.placement == nil, utilization < b.utilization,
		utilization == b.utilization && modelsLoaded < b.modelsLoaded,
		utilization == b.utilization && modelsLoaded == b.modelsLoaded && mix(tie) < mix(b.tie):
		*b = best{p, utilization, modelsLoaded, tie}
	}
}

// mix is the finalizer of MurmurHash3: it maps adjacent numbers far apart.
func mix(n uint32) uint32 {
	n ^= n >> 16
	n *= 0x85ebca6b
	n ^= n >> 13
	n *= 0xc2b2ae35
	return n ^ n>>16
}

// choose returns the placement that gets the next request, and why. Of the placements
// whose backend is up and not excluded, it returns
//
//   - the one that served the conversation last, if the model is loaded there and it is
//     utilized hardly more than the others that have it loaded; or else
//   - the least utilized of those that have the model loaded, unless it is utilized so much
//     more than the others that loading the model there would be faster; or else
//   - the least utilized of all.
//
// It changes nothing, takes no lock and allocates nothing.
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
