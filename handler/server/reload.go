package server

import (
	"context"
	"sync"
	"time"
)

// Reload keeps something fresh that lives outside the process: secrets, or the
// list of revoked keys.
type Reload struct {
	Name string // for the log and the metrics

	// Load takes in what is new and reports whether anything was. If it
	// returns an error, what was good before must still be in force. Force is
	// set when the operator asked for it by a signal.
	Load func(ctx context.Context, force bool) (changed bool, err error)
}

// reloadAll loads every reload at once, so that it shows from the start how it
// goes, then at each interval and when asked, until the context ends. None waits
// for another: one may be at the far end of a network.
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

// reloadLoop does so for one of them. It logs what happened once, however often it
// goes on happening.
func (s *Server) reloadLoop(ctx context.Context, r Reload, asked <-chan struct{}) {
	ticker := time.NewTicker(s.ReloadInterval)
	defer ticker.Stop()
	log, failing := s.Proxy.Log, ""
	// The server was made with what there was: should the first load never end,
	// the metrics say of when that is.
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
