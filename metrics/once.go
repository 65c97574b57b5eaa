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

	// most is how many there may be; 0 means any number. Those that are too
	// many share the child under rest, which has to be the first.
	most int
	rest K
}

// get gives the child under k, which make makes if it is the first time.
func (o *once[K, V]) get(k K, make func(K) V) V {
	if v, ok := o.find(k); ok {
		return v
	}
	o.adding.Lock()
	defer o.adding.Unlock()
	if v, ok := o.find(k); ok {
		return v
	}
	children := map[K]V{}
	if old := o.children.Load(); old != nil {
		maps.Copy(children, *old)
	}
	v := make(k)
	children[k] = v
	o.children.Store(&children)
	return v
}

func (o *once[K, V]) find(k K) (v V, ok bool) {
	children := o.children.Load()
	if children == nil {
		return v, false
	}
	v, ok = (*children)[k]
	if !ok && o.most > 0 && len(*children) >= o.most {
		v, ok = (*children)[o.rest]
	}
	return v, ok
}
