package upstream

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// refreshInterval is the least time between two refreshes, and refreshTimeout how
	// long a request waits for one.
	refreshInterval = 2 * time.Second
	refreshTimeout  = 2 * time.Second
)

// refreshState says whether a refresh is running.
type refreshState struct {
	done chan struct{} // closed when it ends; nil: none is running
	last time.Time     // when the last one ended
}

// refresh probes all backends because a request names a model that none of them lists,
// and waits until that has ended: one may have got the model. Requests share a refresh,
// and within 2 s after one there is no other.
func (pl *Pool) refresh(ctx context.Context) {
	pl.mu.Lock()
	if pl.refreshing.done == nil {
		if pl.watchCtx == nil || pl.watchCtx.Err() != nil || time.Since(pl.refreshing.last) < refreshInterval {
			pl.mu.Unlock()
			return
		}
		done := make(chan struct{})
		pl.refreshing.done = done
		watchCtx, backends := pl.watchCtx, slices.Clone(pl.backends)
		pl.probes.Go(func() {
			pl.probeAll(watchCtx, backends)
			pl.mu.Lock()
			pl.refreshing = refreshState{last: time.Now()}
			pl.mu.Unlock()
			close(done)
		})
	}
	done := pl.refreshing.done
	pl.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// probeAll probes all backends that are up.
func (pl *Pool) probeAll(ctx context.Context, backends []*backend) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, b := range backends {
		if !b.up.Load() {
			continue
		}
		all.Go(func() {
			began := pl.clock.Add(1)
			if installed, loaded, err := b.probe(ctx); err == nil {
				pl.setListIfNewer(b, began, installed, loaded)
			}
		})
	}
	all.Wait()
}
