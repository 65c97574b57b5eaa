package upstream

import (
	"context"
	"time"
)

// SharedProbe lets tests wait for a probe as requests do.
type SharedProbe struct{ sharedProbe }

func (s *SharedProbe) Wait(ctx context.Context, limit time.Duration, ask func(context.Context) error) error {
	return s.wait(ctx, limit, ask)
}
