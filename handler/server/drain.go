package server

import (
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
)

// drain waits for running requests, and cuts those that are left when the grace is over.
// The public listener stays open meanwhile: a 503 that says when to come back helps a
// client more than a refused connection.
func (s *Server) drain() {
	s.Proxy.Log.Info("shutting down: running requests may finish", "grace", s.Grace)
	empty := s.Proxy.Drain()
	grace := time.NewTimer(s.Grace)
	defer grace.Stop()
	select {
	case <-empty:
		return
	case <-grace.C:
	}
	s.Proxy.Log.Warn("the grace is over: cutting what still runs")
	s.Proxy.CutAll()
	grace.Reset(2 * downstream.CutGrace)
	select {
	case <-empty:
	case <-grace.C:
	}
}
