package upstream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

const (
	// watchInterval is how often the one Ollama is looked after, and
	// watchOften how often each of several: a look costs it nothing, and says
	// which models other replicas have had it load.
	singleProbeInterval = 10 * time.Second
	probeInterval       = 3 * time.Second

	// lookTimeout is how long a look may take.
	probeTimeout = 5 * time.Second

	// firstPause is how long a backend that went down is left alone at first;
	// each time it does so again without having served anything, twice as
	// long, up to watchInterval.
	minDownInterval = 250 * time.Millisecond

	// lookGap is the least time between a look and one that something calls
	// for.
	minProbeGap = 100 * time.Millisecond

	// recovering is how often one looks after a backend that has just come back,
	// and has it take more.
	recoveryInterval = time.Second

	// missInterval is the least time between two looks at all backends because
	// of a model that none has, and missPatience how long a request waits for
	// one.
	refreshInterval = 2 * time.Second
	refreshTimeout  = 2 * time.Second

	// maxKnown bounds how many models of one Ollama are known, those at
	// ollama.com apart.
	maxModels = 1000
)

// Watch asks every Ollama for its models, at once and then time and
// again until the context ends, and logs when one comes and goes. Requests do not
// wait for that: each finds out for itself.
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
	pl.watchCtx = nil // from here on nobody begins a look
	pl.mu.Unlock()
	pl.probes.Wait()
}

// lookAfter begins to look after a backend, if that is the time. The lock is held.
func (pl *Pool) startProbing(b *backend) {
	if pl.watchCtx == nil || pl.watchCtx.Err() != nil {
		return
	}
	var ctx context.Context
	ctx, b.stop = context.WithCancel(pl.watchCtx)
	pl.probes.Go(func() { pl.probeLoop(ctx, b) })
}

// probeLoop looks after a backend until the context ends.
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

// rest waits until the backend is to be looked at again. It reports whether that
// is so.
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

// pause is how long to leave a backend alone. No two replicas are to ask at the
// same time for long.
func (pl *Pool) probeDelay(b *backend) time.Duration {
	switch {
	case pl.Alone:
		return singleProbeInterval
	case !b.up.Load():
		// It may have served since what it had before: no trips then.
		pause := minDownInterval << min(max(b.failures.Load()-1, 0), 10)
		return jitter(min(pause, singleProbeInterval))
	case b.slowStart.Load() > 0:
		return jitter(recoveryInterval)
	}
	return jitter(probeInterval)
}

// jitter gives from one half of d to one and a half.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// markDown notes that a backend does not answer. It gets no requests until it does.
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

// markUp notes that a backend answers. One that was away begins as if it were as
// busy as the others are, and seems less so with each look, lest all that comes
// in goes to it at once.
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

// busy is how many requests the others have for each unit of weight, times m's.
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

// reportUp tells the recorder whether the backend's entry has one that answers.
func (pl *Pool) reportUp(b *backend) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if b.removed {
		return
	}
	pl.Recorder.UpstreamUp(b.number, slices.ContainsFunc(pl.backends, func(p *backend) bool { return p.number == b.number && p.up.Load() }))
}

// miss is a look at all backends because a request named a model that none has.
type refreshState struct {
	done chan struct{} // closed at its end; nil: there is none
	last time.Time     // when the last one ended
}

// refresh has all backends looked at, since one may have got a new model, and
// waits for that. However many requests ask for it, there is one look at a time,
// and none soon after another.
func (pl *Pool) refresh(ctx context.Context) {
	pl.mu.Lock()
	if pl.refreshing.done == nil {
		if pl.watchCtx == nil || pl.watchCtx.Err() != nil || time.Since(pl.refreshing.last) < refreshInterval {
			pl.mu.Unlock()
			return
		}
		done := make(chan struct{})
		pl.refreshing.done = done
		looking, backends := pl.watchCtx, slices.Clone(pl.backends)
		pl.probes.Go(func() {
			pl.probeAll(looking, backends)
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

// listing is what a backend lists, by model in its canonical spelling: whether it has
// it run at ollama.com.
type listing map[string]bool

// probe asks the backend which models it has, and which of them it has loaded; nil
// if it does not say.
func (b *backend) probe(ctx context.Context) (installed, loaded listing, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if installed, err = b.ask(ctx, "/api/tags"); err != nil {
		return nil, nil, err
	}
	loaded, _ = b.ask(ctx, "/api/ps")
	return installed, loaded, nil
}

// ask gives what the backend lists there.
func (b *backend) ask(ctx context.Context, path string) (listing, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "ollama-proxy")
	res, err := b.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, statusError(path, res.StatusCode)
	}
	var body struct {
		Models []struct {
			Name, Model string
			RemoteModel string `json:"remote_model"`
			RemoteHost  string `json:"remote_host"`
		}
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, models.MaxList)).Decode(&body); err != nil {
		return nil, models.ErrBadList
	}
	listed := listing{}
	for _, one := range body.Models {
		remote := one.RemoteHost != "" || one.RemoteModel != ""
		if name, ok := signer.CanonicalName(cmp.Or(one.Name, one.Model)); ok && (len(listed) < maxModels || remote) {
			listed[name] = listed[name] || remote
		}
	}
	return listed, nil
}
