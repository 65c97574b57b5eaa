package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/ollama-proxy/ollama-proxy/handler/socket"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
)

// errNotOllama is what a server says that has no list of models where Ollama has
// one: it is another kind of server, which has no account at ollama.com.
var errNotOllama = errors.New("there is no list of models")

// NoListError is why nobody can tell which models Ollama has.
type NoListError struct{ error }

func (e NoListError) Error() string {
	return "Ollama's list of models cannot be had: " + e.error.Error()
}
func (e NoListError) Unwrap() error { return e.error }

// Message is what the client is told.
func (e NoListError) Message() string {
	switch {
	case errors.Is(e.error, ErrAllDown):
		return ErrAllDown.Error()
	case transport.IsRefused(e.error):
		return Unreachable
	}
	return "Ollama cannot be asked which models it has"
}

// Kind is what it counts as.
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

// IsListed reports whether the model is in a list of those to whom the request may
// go, and no request has changed any since. Such a list also says whether the
// model is one of ollama.com's.
func (pl *Pool) IsListed(x *Request, model string) bool {
	found := false
	for _, p := range pl.roster.Load().models[model] {
		if x.Named != "" && p.Name != x.Named {
			continue
		}
		isAsked := pl.Alone || x.Named != "" || p.up.Load() // else it gets no request before its list is read
		if isAsked && p.listedAt.Load() < pl.modelsChangedAt.Load() {
			return false
		}
		found = true
	}
	return found
}

// ModelsChanged notes that a request may have made models, or others of their names.
func (pl *Pool) ModelsChanged() { pl.modelsChangedAt.Store(pl.clock.Add(1)) }

// ReadLists has the lists of models read anew of all to whom the request may go,
// and waits for that. If nobody can be asked, the error is a noListError, or
// errNoSlot; if the context ends first, its own.
func (pl *Pool) ReadLists(ctx context.Context, x *Request) error {
	if x.Named == "" {
		return pl.probe.wait(ctx, sharedProbeTimeout, pl.readAll)
	}
	for _, p := range pl.roster.Load().any {
		if b := p.backend; b.Name == x.Named {
			return b.sharedProbe.wait(ctx, sharedProbeTimeout, func(ctx context.Context) error { return asNoList(pl.readOne(ctx, b)) })
		}
	}
	return nil // relay says that there is no such Ollama
}

// probeTimeout bounds how long a list of models may take that requests wait for. It
// is more than a look has: Ollama may be busy, and without a list the answer is 502.
const sharedProbeTimeout = 2 * probeTimeout

// readAll reads the list of everyone who is up. A request for a model that is in
// no list goes only to those whose list has been read; so it is enough if one
// answers. One that does not is down from here on.
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
			return one // it is still up, and what it has is not known
		case !errors.Is(one, ErrAllDown):
			err = one
		}
	}
	if answered {
		return nil
	}
	return asNoList(err)
}

// readOne reads one's list.
func (pl *Pool) readOne(ctx context.Context, b *backend) error {
	began := pl.clock.Add(1)
	installed, err := b.ask(ctx, "/api/tags")
	switch {
	case errors.Is(err, errNotOllama):
		return nil
	case err != nil:
		return err
	}
	var loaded listing // it does not say
	if !pl.Alone {
		loaded, _ = b.ask(ctx, "/api/ps")
	}
	pl.setListIfNewer(b, began, installed, loaded)
	return nil
}

func asNoList(err error) error {
	if err == nil || errors.Is(err, transport.ErrNoConnection) {
		return err
	}
	return NoListError{err}
}

// takeLatest is take for a list that was asked for at the given moment of the
// pool's clock. One that has been overtaken by another is not taken in: it may be
// from before a model was made.
func (pl *Pool) setListIfNewer(b *backend, began uint64, installed, loaded listing) {
	b.listMu.Lock()
	defer b.listMu.Unlock()
	if began < b.listedAt.Load() {
		return
	}
	pl.setList(b, installed, loaded)
	b.listedAt.Store(began) // from here on it is relied upon
}

// statusError is what the status of a list is, other than 200.
func statusError(path string, status int) error {
	err := fmt.Errorf("GET %s gives status %d", path, status)
	switch status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return fmt.Errorf("%w: %w", errNotOllama, err)
	}
	return err
}

const Unreachable = "Ollama cannot be reached"
