package upstream_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

// TestSharedProbeEndsWithItsLastWaiter: a result that nobody waits for is not asked for.
func TestSharedProbeEndsWithItsLastWaiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var probe upstream.SharedProbe
		var asked, running atomic.Int32
		ask := func(ctx context.Context) error {
			asked.Add(1)
			running.Add(1)
			defer running.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		}
		ctx, leave := context.WithCancel(t.Context())
		for range 3 {
			go probe.Wait(ctx, time.Hour, ask)
			synctest.Wait()
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%d probes run at once", n)
		}
		leave()
		synctest.Wait()
		if n := running.Load(); n != 0 || asked.Load() > 2 {
			t.Errorf("%d probes run, though nobody waits; %d have begun", n, asked.Load())
		}
		if err := probe.Wait(t.Context(), time.Second, func(context.Context) error { return nil }); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}
