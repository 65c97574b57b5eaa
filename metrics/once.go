package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
)

// once holds the children of a vector that events have asked for, so that a
// vector's own lookup, which hashes and locks, is made once for each. The
// zero once is empty. A map that is published never changes.
type once[K comparable, V any] struct {
	children atomic.Pointer[map[K]V]
	adding   sync.Mutex
}

// get gives the child under k, which make makes if it is the first time.
func (o *once[K, V]) get(k K, make func(K) V) V {
	if children := o.children.Load(); children != nil {
		if v, ok := (*children)[k]; ok {
			return v
		}
	}
	o.adding.Lock()
	defer o.adding.Unlock()
	children := map[K]V{}
	if old := o.children.Load(); old != nil {
		maps.Copy(children, *old)
	}
	v := make(k)
	children[k] = v
	o.children.Store(&children)
	return v
}
