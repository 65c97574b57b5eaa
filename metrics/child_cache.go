package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
)

// childCache holds the children of a metric vector that have been used, so that the
// vector's own lookup, which hashes and locks, is made once for each child. The map is
// replaced and never changed, so that get takes no lock for a known child. The zero
// childCache is empty.
type childCache[K comparable, V any] struct {
	children atomic.Pointer[map[K]V]
	addMu    sync.Mutex

	// max bounds the number of children; 0: no bound. Further keys share the child of
	// overflow, which must be the first to be added.
	max      int
	overflow K
}

// get returns the child of k. It calls make if there is none yet.
func (c *childCache[K, V]) get(k K, make func(K) V) V {
	if v, ok := c.find(k); ok {
		return v
	}
	c.addMu.Lock()
	defer c.addMu.Unlock()
	if v, ok := c.find(k); ok {
		return v
	}
	children := map[K]V{}
	if old := c.children.Load(); old != nil {
		maps.Copy(children, *old)
	}
	v := make(k)
	children[k] = v
	c.children.Store(&children)
	return v
}

// find returns the child of k, or the shared one if there are too many.
func (c *childCache[K, V]) find(k K) (v V, ok bool) {
	children := c.children.Load()
	if children == nil {
		return v, false
	}
	v, ok = (*children)[k]
	if !ok && c.max > 0 && len(*children) >= c.max {
		v, ok = (*children)[c.overflow]
	}
	return v, ok
}
