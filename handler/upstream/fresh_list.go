package upstream

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/ollama-proxy/ollama-proxy/handler/socket"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// NoListError is returned if the list of models that is needed to judge a request cannot
// be had.
type NoListError struct{ error }

// Error implements error.
func (e NoListError) Error() string {
	return "Ollama's list of models cannot be had: " + e.error.Error()
}

// Unwrap returns the reason.
func (e NoListError) Unwrap() error { return e.error }

// Message returns the text for the client.
func (e NoListError) Message() string {
	switch {
	case errors.Is(e.error, ErrAllDown):
		return ErrAllDown.Error()
	case transport.IsRefused(e.error):
		return Unreachable
	}
	return "Ollama cannot be asked which models it has"
}

// Kind returns the kind of failure for the metrics, one of [Errors].
func (e NoListError) Kind() string {
	switch {
	case errors.Is(e.error, ErrAllDown), transport.IsRefused(e.error):
		return UpstreamDial
	case errors.Is(e.error, context.DeadlineExceeded):
		return UpstreamTimeout
	case socket.IsDisconnect(e.error), errors.Is(e.error, io.EOF):
		return UpstreamReset
	}
	return UpstreamOther
}

// IsListed reports whether a current list has the model: a list of a backend that may
// get the request, which was read after the last call of [Pool.ModelsChanged]. Such a
// list also says whether the model runs at ollama.com.
func (pl *Pool) IsListed(x *Request, model string) bool {
	found := false
	for _, p := range pl.roster.Load().models[model] {
		if x.Named != "" && p.Name != x.Named {
			continue
		}
		isAsked := pl.Alone || x.Named != "" || p.up.Load() // if it is down, it gets no request before its list is read
		if isAsked && p.listedAt.Load() < pl.modelsChangedAt.Load() {
			return false
		}
		found = true
	}
	return found
}

// ModelsChanged must be called after a request that may have created models, or changed
// what their names stand for. Lists that were read before do not count any more.
func (pl *Pool) ModelsChanged() { pl.modelsChangedAt.Store(pl.clock.Add(1)) }

// ReadLists reads the lists of models of all backends that may get the request, and
// waits up to 10 s for that. Requests share the reading. If no backend can be asked, the
// error is a [NoListError] or [transport.ErrNoConnection]; if the context ends first,
// its error.
func (pl *Pool) ReadLists(ctx context.Context, x *Request) error {
	if x.Named == "" {
		return pl.probe.wait(ctx, sharedProbeTimeout, pl.readAll)
	}
	for _, p := range pl.roster.Load().any {
		if b := p.backend; b.Name == x.Named {
			return b.sharedProbe.wait(ctx, sharedProbeTimeout, func(ctx context.Context) error { return asNoList(pl.readOne(ctx, b)) })
		}
	}
	return nil // AskNamed reports that there is no such Ollama
}

// sharedProbeTimeout bounds a reading of lists that requests wait for. It is longer than
// probeTimeout, because Ollama may be busy, and without a list the response is 502.
const sharedProbeTimeout = 2 * probeTimeout

// readAll reads the lists of all backends that are up. It succeeds if one can be read: a
// request for a model that is in no list goes only to backends whose list has been read.
// A backend whose list cannot be read is down from here on.
func (pl *Pool) readAll(ctx context.Context) error {
	backends := pl.roster.Load().backends
	if pl.Alone {
		return asNoList(pl.readOne(ctx, backends[0]))
	}
	failed := make([]error, len(backends))
	var all sync.WaitGroup
	for i, b := range backends {
		if !b.up.Load() {
			failed[i] = ErrAllDown
			continue
		}
		all.Go(func() {
			failed[i] = pl.readOne(ctx, b)
			if failed[i] != nil && !errors.Is(failed[i], transport.ErrNoConnection) && !errors.Is(failed[i], context.Canceled) {
				pl.markDown(b, failed[i], false)
			}
		})
	}
	all.Wait()
	var err error = ErrAllDown
	answered := false
	for _, one := range failed {
		switch {
		case one == nil:
			answered = true
		case errors.Is(one, transport.ErrNoConnection), errors.Is(one, context.Canceled):
			return one // it is still up, but its models are not known
		case !errors.Is(one, ErrAllDown):
			err = one
		}
	}
	if answered {
		return nil
	}
	return asNoList(err)
}

// readOne reads the list of one backend.
func (pl *Pool) readOne(ctx context.Context, b *backend) error {
	began := pl.clock.Add(1)
	installed, err := b.ask(ctx, "/api/tags")
	switch {
	case errors.Is(err, errNotOllama):
		return nil
	case err != nil:
		return err
	}
	var loaded listing // nil: not asked
	if !pl.Alone {
		loaded, _ = b.ask(ctx, "/api/ps")
	}
	pl.setListIfNewer(b, began, installed, loaded)
	return nil
}

// asNoList wraps err in a NoListError, unless the backend was not asked for want of a
// connection.
func asNoList(err error) error {
	if err == nil || errors.Is(err, transport.ErrNoConnection) {
		return err
	}
	return NoListError{err}
}

// setListIfNewer stores a list that was asked for at the given time of the pool's clock,
// unless one that was asked for later has been stored: the older one may be from before
// a model was created.
func (pl *Pool) setListIfNewer(b *backend, began uint64, installed, loaded listing) {
	b.listMu.Lock()
	defer b.listMu.Unlock()
	if began < b.listedAt.Load() {
		return
	}
	pl.setList(b, installed, loaded)
	b.listedAt.Store(began) // from here on IsListed uses it
}

// Unreachable is the text for clients if Ollama cannot be reached.
const Unreachable = "Ollama cannot be reached"
