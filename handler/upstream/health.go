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
	watchInterval = 10 * time.Second
	watchOften    = 3 * time.Second

	// lookTimeout is how long a look may take.
	lookTimeout = 5 * time.Second

	// firstPause is how long a backend that went down is left alone at first;
	// each time it does so again without having served anything, twice as
	// long, up to watchInterval.
	firstPause = 250 * time.Millisecond

	// lookGap is the least time between a look and one that something calls
	// for.
	lookGap = 100 * time.Millisecond

	// recovering is how often one looks after a backend that has just come back,
	// and has it take more.
	recovering = time.Second

	// missInterval is the least time between two looks at all backends because
	// of a model that none has, and missPatience how long a request waits for
	// one.
	missInterval = 2 * time.Second
	missPatience = 2 * time.Second

	// maxKnown bounds how many models of one Ollama are known, those at
	// ollama.com apart.
	maxKnown = 1000
)

// Watch asks every Ollama for its models, at once and then time and
// again until the context ends, and logs when one comes and goes. Requests do not
// wait for that: each finds out for itself.
func (pl *Pool) Watch(ctx context.Context) {
	pl.mu.Lock()
	pl.looking = ctx
	for _, m := range pl.members {
		pl.lookAfter(m)
	}
	if !pl.Alone {
		pl.looks.Go(func() { pl.discover(ctx) })
	}
	pl.mu.Unlock()
	<-ctx.Done()
	pl.mu.Lock()
	pl.looking = nil // from here on nobody begins a look
	pl.mu.Unlock()
	pl.looks.Wait()
}

// lookAfter begins to look after a backend, if that is the time. The lock is held.
func (pl *Pool) lookAfter(m *backend) {
	if pl.looking == nil || pl.looking.Err() != nil {
		return
	}
	var ctx context.Context
	ctx, m.stop = context.WithCancel(pl.looking)
	pl.looks.Go(func() { pl.probeLoop(ctx, m) })
}

// probeLoop looks after a backend until the context ends.
func (pl *Pool) probeLoop(ctx context.Context, m *backend) {
	for first := true; ; first = false {
		began := pl.clock.Add(1)
		installed, loaded, err := m.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.Is(err, transport.ErrNoConnection): // it has not been asked
		case err != nil:
			pl.markDown(m, err, first)
		default:
			pl.takeLatest(m, began, installed, loaded)
			pl.markUp(m, first)
		}
		pl.reportUp(m)
		if !pl.rest(ctx, m) {
			return
		}
	}
}

// rest waits until the backend is to be looked at again. It reports whether that
// is so.
func (pl *Pool) rest(ctx context.Context, m *backend) bool {
	timer := time.NewTimer(pl.pause(m))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-m.wake:
			if m.up.Load() {
				timer.Reset(lookGap)
			} else {
				timer.Reset(pl.pause(m))
			}
		case <-ctx.Done():
			return false
		}
	}
}

// pause is how long to leave a backend alone. No two replicas are to ask at the
// same time for long.
func (pl *Pool) pause(m *backend) time.Duration {
	switch {
	case pl.Alone:
		return watchInterval
	case !m.up.Load():
		// It may have served since what it had before: no trips then.
		pause := firstPause << min(max(m.failures.Load()-1, 0), 10)
		return jitter(min(pause, watchInterval))
	case m.slowStart.Load() > 0:
		return jitter(recovering)
	}
	return jitter(watchOften)
}

// jitter gives from one half of d to one and a half.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// markDown notes that a backend does not answer. It gets no requests until it does.
func (pl *Pool) markDown(m *backend, err error, first bool) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	m.seen = true
	if m.left {
		return
	}
	if !m.up.Swap(false) && !first {
		return
	}
	m.failures.Add(1)
	m.earlyResets.Store(0)
	m.forget()
	m.probeSoon()
	if pl.Alone {
		pl.Logger.Warn("Ollama cannot be reached: requests get 502 until it can", "upstream", m.url.Redacted(), "error", err)
	} else {
		pl.Logger.Warn("an Ollama cannot be reached: requests go to others", "upstream", m.Name, "error", err)
	}
}

// markUp notes that a backend answers. One that was away begins as if it were as
// busy as the others are, and seems less so with each look, lest all that comes
// in goes to it at once.
func (pl *Pool) markUp(m *backend, first bool) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	m.slowStart.Store(m.slowStart.Load() / 2)
	if m.up.Swap(true) && !first {
		return
	}
	if !first {
		m.slowStart.Store(pl.busy(m))
	}
	name := m.Name
	if pl.Alone {
		name = m.url.Redacted()
	}
	pl.Logger.Info("Ollama answers", "upstream", name, "models", len(m.offers)-1)
}

// busy is how many requests the others have for each unit of weight, times m's.
func (pl *Pool) busy(m *backend) int32 {
	var requests, weight int32
	for _, other := range pl.members {
		if other != m && other.up.Load() {
			requests += other.inFlight.Load()
			weight += other.weight.Load()
		}
	}
	if weight == 0 {
		return 0
	}
	return requests * m.weight.Load() / weight
}

// reportUp tells the recorder whether the backend's entry has one that answers.
func (pl *Pool) reportUp(m *backend) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if m.left {
		return
	}
	pl.Recorder.UpstreamUp(m.number, slices.ContainsFunc(pl.members, func(o *backend) bool { return o.number == m.number && o.up.Load() }))
}

// miss is a look at all backends because a request named a model that none has.
type miss struct {
	done chan struct{} // closed at its end; nil: there is none
	last time.Time     // when the last one ended
}

// refresh has all backends looked at, since one may have got a new model, and
// waits for that. However many requests ask for it, there is one look at a time,
// and none soon after another.
func (pl *Pool) refresh(ctx context.Context) {
	pl.mu.Lock()
	if pl.miss.done == nil {
		if pl.looking == nil || pl.looking.Err() != nil || time.Since(pl.miss.last) < missInterval {
			pl.mu.Unlock()
			return
		}
		done := make(chan struct{})
		pl.miss.done = done
		looking, members := pl.looking, slices.Clone(pl.members)
		pl.looks.Go(func() {
			pl.lookAtAll(looking, members)
			pl.mu.Lock()
			pl.miss = miss{last: time.Now()}
			pl.mu.Unlock()
			close(done)
		})
	}
	done := pl.miss.done
	pl.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (pl *Pool) lookAtAll(ctx context.Context, members []*backend) {
	ctx, cancel := context.WithTimeout(ctx, missPatience)
	defer cancel()
	var all sync.WaitGroup
	for _, m := range members {
		if !m.up.Load() {
			continue
		}
		all.Go(func() {
			began := pl.clock.Add(1)
			if installed, loaded, err := m.probe(ctx); err == nil {
				pl.takeLatest(m, began, installed, loaded)
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
func (m *backend) probe(ctx context.Context) (installed, loaded listing, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if installed, err = m.ask(ctx, "/api/tags"); err != nil {
		return nil, nil, err
	}
	loaded, _ = m.ask(ctx, "/api/ps")
	return installed, loaded, nil
}

// ask gives what the backend lists there.
func (m *backend) ask(ctx context.Context, path string) (listing, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "ollama-proxy")
	res, err := m.transport.RoundTrip(r)
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
		if name, ok := signer.CanonicalName(cmp.Or(one.Name, one.Model)); ok && (len(listed) < maxKnown || remote) {
			listed[name] = listed[name] || remote
		}
	}
	return listed, nil
}
