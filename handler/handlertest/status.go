package handlertest

import (
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/status"
)

// InForce is a status.InForce with fixed values.
type InForce struct{}

func (InForce) Revocations() int { return 7 }

func (InForce) RevocationsHash() uint64 { return 0xabc }

func (InForce) SecretFingerprint() uint64 { return 0xdef }

// Totals returns the Totals of a Recorder without events.
func Totals() status.Totals { return status.Totals{FirstByteBounds: []float64{0.1, 1, 10}} }

// WithStatus makes a server serve its status.
func WithStatus(s *server.Server) { s.Totals, s.InForce, s.Version = Totals, InForce{}, "v1.2.3" }
