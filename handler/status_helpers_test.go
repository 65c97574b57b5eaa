package handler_test

import "github.com/ollama-proxy/ollama-proxy/handler"

// inForce says that nothing much is.
type inForce struct{}

func (inForce) Revocations() int { return 7 }

func (inForce) RevocationsHash() uint64 { return 0xabc }

func (inForce) SecretFingerprint() uint64 { return 0xdef }

// totals are those of a recorder that has nothing to tell.
func totals() handler.Totals { return handler.Totals{FirstByteBounds: []float64{0.1, 1, 10}} }

// seen makes a server one that can be looked at.
func seen(s *handler.Server) { s.Totals, s.InForce, s.Version = totals, inForce{}, "v1.2.3" }
