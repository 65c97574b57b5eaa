package handlertest

import (
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/status"
)

// InForce says that nothing much is.
type InForce struct{}

func (InForce) Revocations() int { return 7 }

func (InForce) RevocationsHash() uint64 { return 0xabc }

func (InForce) SecretFingerprint() uint64 { return 0xdef }

// Totals are those of a recorder that has nothing to tell.
func Totals() status.Totals { return status.Totals{FirstByteBounds: []float64{0.1, 1, 10}} }

// Seen makes a server one that can be looked at.
func Seen(s *server.Server) { s.Totals, s.InForce, s.Version = Totals, InForce{}, "v1.2.3" }
