package upstream

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

const (
	// singleProbeInterval is the time between probes of a single Ollama, and
	// probeInterval of each of several: a probe costs Ollama nothing, and shows which
	// models other replicas have made it load.
	singleProbeInterval = 10 * time.Second
	probeInterval       = 3 * time.Second

	// probeTimeout bounds a probe.
	probeTimeout = 5 * time.Second

	// minDownInterval is the time after which a backend that went down is probed. It
	// doubles each time the backend goes down again without having answered a request,
	// up to singleProbeInterval.
	minDownInterval = 250 * time.Millisecond

	// minProbeGap is the delay of a probe that probeSoon asks for.
	minProbeGap = 100 * time.Millisecond

	// recoveryInterval is the time between probes of a backend in slow start. Each probe
	// makes it take more requests.
	recoveryInterval = time.Second
)

// Watch probes every Ollama, at once and then every 3 s (a single one every 10 s), and
// logs when one goes up or down. It also resolves the names in entries every 5 s. It
// returns once the context ends and all probes have ended. Requests do not wait for a
// probe: each learns for itself whether an Ollama can be reached.
func (pl *Pool) Watch(ctx context.Context) {
	pl.mu.Lock()
	pl.watchCtx = ctx
	for _, b := range pl.backends {
		pl.startProbing(b)
	}
	if !pl.Alone {
		pl.probes.Go(func() { pl.discover(ctx) })
	}
	pl.mu.Unlock()
	<-ctx.Done()
	pl.mu.Lock()
	pl.watchCtx = nil // from here on no probe begins
	pl.mu.Unlock()
	pl.probes.Wait()
}

// startProbing begins to probe a backend if Watch is running. The lock is held.
func (pl *Pool) startProbing(b *backend) {
	if pl.watchCtx == nil || pl.watchCtx.Err() != nil {
		return
	}
	var ctx context.Context
	ctx, b.stop = context.WithCancel(pl.watchCtx)
	pl.probes.Go(func() { pl.probeLoop(ctx, b) })
}

// probeLoop probes a backend until the context ends.
func (pl *Pool) probeLoop(ctx context.Context, b *backend) {
	for first := true; ; first = false {
		began := pl.clock.Add(1)
		installed, loaded, err := b.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.Is(err, transport.ErrNoConnection): // it has not been asked
		case err != nil:
			pl.markDown(b, err, first)
		default:
			pl.setListIfNewer(b, began, installed, loaded)
			pl.markUp(b, first)
		}
		pl.reportUp(b)
		if !pl.waitForProbe(ctx, b) {
			return
		}
	}
}

// waitForProbe waits until it is time for the next probe. It returns false if the
// context ends.
func (pl *Pool) waitForProbe(ctx context.Context, b *backend) bool {
	timer := time.NewTimer(pl.probeDelay(b))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-b.probeNow:
			if b.up.Load() {
				timer.Reset(minProbeGap)
			} else {
				timer.Reset(pl.probeDelay(b))
			}
		case <-ctx.Done():
			return false
		}
	}
}

// probeDelay returns how long to wait for the next probe. It varies, so that replicas do
// not probe at the same time for long.
func (pl *Pool) probeDelay(b *backend) time.Duration {
	switch {
	case pl.Alone:
		return singleProbeInterval
	case !b.up.Load():
		// It may have answered a request since it went down: then failures is 0.
		delay := minDownInterval << min(max(b.failures.Load()-1, 0), 10)
		return jitter(min(delay, singleProbeInterval))
	case b.slowStart.Load() > 0:
		return jitter(recoveryInterval)
	}
	return jitter(probeInterval)
}

// jitter returns a random time from half of d to one and a half.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// markDown stores that a backend is down: it gets no requests until a probe succeeds.
// first says that this is the result of the first probe.
func (pl *Pool) markDown(b *backend, err error, first bool) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	b.probed = true
	if b.removed {
		return
	}
	if !b.up.Swap(false) && !first {
		return
	}
	b.failures.Add(1)
	b.earlyResets.Store(0)
	b.clearLoaded()
	b.probeSoon()
	if pl.Alone {
		pl.Logger.Warn("Ollama cannot be reached: requests get 502 until it can", "upstream", b.url.Redacted(), "error", err)
	} else {
		pl.Logger.Warn("an Ollama cannot be reached: requests go to others", "upstream", b.Name, "error", err)
	}
}

// markUp stores that a backend is up. One that was down begins with slow start: as if it
// had as many requests as the others have, and half of them after each probe, so that it
// does not get all new requests at once.
func (pl *Pool) markUp(b *backend, first bool) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	b.slowStart.Store(b.slowStart.Load() / 2)
	if b.up.Swap(true) && !first {
		return
	}
	if !first {
		b.slowStart.Store(pl.averageInFlight(b))
	}
	name := b.Name
	if pl.Alone {
		name = b.url.Redacted()
	}
	pl.Logger.Info("Ollama answers", "upstream", name, "models", len(b.placements)-1)
}

// averageInFlight returns how many requests the backend would have if it had as many per
// unit of weight as the others.
func (pl *Pool) averageInFlight(b *backend) int32 {
	var requests, weight int32
	for _, other := range pl.backends {
		if other != b && other.up.Load() {
			requests += other.inFlight.Load()
			weight += other.weight.Load()
		}
	}
	if weight == 0 {
		return 0
	}
	return requests * b.weight.Load() / weight
}

// reportUp tells the recorder whether any backend of the same entry is up.
func (pl *Pool) reportUp(b *backend) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if b.removed {
		return
	}
	pl.Recorder.UpstreamUp(b.number, slices.ContainsFunc(pl.backends, func(p *backend) bool { return p.number == b.number && p.up.Load() }))
}
