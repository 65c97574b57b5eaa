package server

import (
	"context"
	"sync"
	"time"
)

// Reload loads something again that lives outside the process, such as secrets or the list
// of revoked keys.
type Reload struct {
	Name string // for the log and the metrics

	// Load reads the current content and reports whether it differs from what is in
	// force. If it returns an error, what was in force must stay so. Force is set when the
	// operator asked for the reload by a signal.
	Load func(ctx context.Context, force bool) (changed bool, err error)
}

// reloadAll runs every reload at once, so that the metrics show from the start whether it
// works, and then at each interval and on request, until the context ends. No reload waits
// for another: one may be slow, at the far end of a network.
func (s *Server) reloadAll(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	asked := make([]chan struct{}, len(s.Reloads))
	for i, r := range s.Reloads {
		asked[i] = make(chan struct{}, 1)
		all.Go(func() { s.reloadLoop(ctx, r, asked[i]) })
	}
	for {
		select {
		case <-s.ReloadNow:
		case <-ctx.Done():
			return
		}
		for _, c := range asked {
			select {
			case c <- struct{}{}:
			default: // it is asked already
			}
		}
	}
}

// reloadLoop is reloadAll for one reload. It logs an error once, however often it happens
// in a row.
func (s *Server) reloadLoop(ctx context.Context, r Reload, asked <-chan struct{}) {
	ticker := time.NewTicker(s.ReloadInterval)
	defer ticker.Stop()
	log, failing := s.Proxy.Log, ""
	// What is in force was loaded just now. If the first reload never ends, the metrics
	// still tell how old it is.
	s.Proxy.Recorder.Reloaded(r.Name, true, time.Now())
	for force := false; ; {
		changed, err := r.Load(ctx, force)
		if ctx.Err() != nil {
			return
		}
		s.Proxy.Recorder.Reloaded(r.Name, err == nil, time.Now())
		switch {
		case err != nil && (force || failing != err.Error()):
			log.Error("cannot reload: what was loaded last stays in force", "what", r.Name, "error", err)
			failing = err.Error()
		case err == nil && (changed || force || failing != ""):
			log.Info("reloaded", "what", r.Name, "changed", changed)
			failing = ""
		}
		if changed {
			s.Proxy.CutRevoked()
		}
		select {
		case <-ticker.C:
			force = false
		case <-asked:
			force = true
		case <-ctx.Done():
			return
		}
	}
}
