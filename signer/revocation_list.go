package signer

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// List keeps the last good list of a source. It is safe for concurrent use.
type List struct {
	current atomic.Pointer[Revocations]

	reloading sync.Mutex // held while source is in use
	source    *Source
}

// NewList returns a List that has nothing yet: see to it that the first
// [List.Reload] succeeds before you rely on it.
func NewList(source *Source) *List { return &List{source: source} }

// Current returns the last good list, nil before the first. It takes no lock,
// also while a reload is under way.
func (l *List) Current() *Revocations { return l.current.Load() }

// Reload reads the source again if it may have changed.
//
//   - If the source cannot be read, or holds a line that is none, Reload says so
//     and the last good list stays.
//   - If entries of the last good list are missing, the list is taken for one
//     that was cut short, or is only half written: Reload says how many are
//     missing and the last good list stays. With force, for an operator who
//     means it, the list is taken. The first list has none before it and is
//     always taken.
//   - Otherwise the list is taken, and Reload reports whether it holds anything
//     else than the last one. The first always does.
//
// After an error the next Reload reads the source in any case.
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
