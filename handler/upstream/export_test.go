package upstream

import (
	"context"
	"time"
)

// SharedProbe lets tests wait for a shared probe.
type SharedProbe struct{ sharedProbe }

// Wait waits as requests do.
func (s *SharedProbe) Wait(ctx context.Context, limit time.Duration, ask func(context.Context) error) error {
	return s.wait(ctx, limit, ask)
}
