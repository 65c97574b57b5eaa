package signer

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// List holds the last valid revocation list from a source. It is safe for concurrent
// use.
type List struct {
	current atomic.Pointer[Revocations]

	reloading sync.Mutex // held while source is in use
	source    *Source
}

// NewList returns a List without revocations. The first [List.Reload] must succeed
// before the List is relied on.
func NewList(source *Source) *List { return &List{source: source} }

// Current returns the last valid list, or nil before the first. It takes no lock, even
// during a reload.
func (l *List) Current() *Revocations { return l.current.Load() }

// Reload reads the source again if it may have changed.
//
//   - If the source cannot be read, or has a malformed line, Reload returns an error,
//     and the last valid list stays in use.
//   - If entries of the last valid list are missing, the source may have been truncated
//     or is still being written: Reload returns an error with their number, and the
//     last valid list stays in use. With force, by which an operator confirms the
//     change, the new list is used. The first list is always used.
//   - Otherwise the new list is used, and Reload reports whether it differs from the
//     last one. The first list always does.
//
// After an error, the next Reload reads the source even if it has not changed.
func (l *List) Reload(ctx context.Context, force bool) (changed bool, err error) {
	l.reloading.Lock()
	defer l.reloading.Unlock()

	content, fresh, err := l.source.Open(ctx)
	if err != nil {
		return false, fmt.Errorf("revocations: %w", err)
	}
	if !fresh {
		return false, nil
	}
	defer content.Close()
	next, err := ParseRevocations(content)
	if err != nil {
		return false, fmt.Errorf("revocations: %s: %w", l.source, err)
	}
	last := l.current.Load()
	lost := next.Lost(last)
	if lost > 0 && !force {
		missing := fmt.Sprintf("%d revocations are missing", lost)
		if lost == 1 {
			missing = "1 revocation is missing"
		}
		return false, fmt.Errorf("revocations: %s: %s from it: if that is meant, send SIGHUP or restart", l.source, missing)
	}
	l.source.Accept()
	l.current.Store(next)
	return last == nil || lost > 0 || next.Len() != last.Len() || !next.Before().Equal(last.Before()), nil
}
