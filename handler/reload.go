package handler

import (
	"context"
	"errors"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
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

// keepFresh loads every reload at each interval, and at once when asked, until
// the context ends.
func (s *Server) keepFresh(ctx context.Context) {
	if len(s.Reloads) == 0 {
		return
	}
	ticker := time.NewTicker(s.ReloadInterval)
	defer ticker.Stop()
	failing := map[string]string{}
	for {
		force := false
		select {
		case <-ticker.C:
		case <-s.ReloadNow:
			force = true
		case <-ctx.Done():
			return
		}
		changed := false
		for _, r := range s.Reloads {
			changed = s.load(ctx, r, force, failing) || changed
		}
		if changed {
			s.Proxy.cutRevoked()
		}
	}
}

// load logs what happened once, however often it goes on happening.
func (s *Server) load(ctx context.Context, r Reload, force bool, failing map[string]string) bool {
	changed, err := r.Load(ctx, force)
	if ctx.Err() != nil {
		return false
	}
	log := s.Proxy.Log
	s.Proxy.Recorder.Reloaded(r.Name, err == nil, time.Now())
	switch {
	case err != nil && (force || failing[r.Name] != err.Error()):
		log.Error("cannot reload: what was loaded last stays in force", "what", r.Name, "error", err)
		failing[r.Name] = err.Error()
	case err == nil && (changed || force || failing[r.Name] != ""):
		log.Info("reloaded", "what", r.Name, "changed", changed)
		delete(failing, r.Name)
	}
	return changed
}

// cutRevoked ends what runs under keys that are genuine no longer. A key that
// has expired meanwhile may finish: it was good when it was asked.
func (p *Proxy) cutRevoked() {
	p.cuts.Add(1) // before it looks: see admit
	for _, x := range p.running.all() {
		_, err := p.Keys.Verify(x.keyText, x.arrived)
		if errors.Is(err, signer.ErrRevoked) || errors.Is(err, signer.ErrForged) {
			x.end(errRevoked)
		}
	}
}
