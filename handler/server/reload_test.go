package server

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
)

type silent struct{ handler.Recorder }

// hears of reloads.
type hears struct {
	silent
	good sync.Map // those that went well, by name
}

func (h *hears) Reloaded(name string, ok bool, _ time.Time) {
	if ok {
		h.good.Store(name, true)
	}
}

func (silent) RequestStarted(int)                           {}
func (silent) Refused(string)                               {}
func (silent) KeySeen(_, _ [16]byte, _ []byte) int          { return 0 }
func (silent) Reloaded(string, bool, time.Time)             {}
func (silent) UpstreamJoined(string) int                    { return 0 }
func (silent) RequestEnded(int, string, int, time.Duration) {}

// TestReloadsDoNotWaitForEachOther: a list at a URL that does not answer must not
// keep a new certificate or secret from coming into force, and neither must it
// keep the server from ending.
func TestReloadsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var loads, forced, hung atomic.Int32
		now := make(chan os.Signal, 1)
		heard := &hears{}
		s := &Server{
			Proxy: handler.New(handler.Options{Upstream: &url.URL{}, Recorder: heard, Log: slog.New(slog.DiscardHandler)}),
			Reloads: []Reload{
				{"hangs", func(ctx context.Context, _ bool) (bool, error) {
					hung.Add(1)
					<-ctx.Done()
					return false, ctx.Err()
				}},
				{"works", func(_ context.Context, force bool) (bool, error) {
					loads.Add(1)
					if force {
						forced.Add(1)
					}
					return true, nil
				}},
			},
			ReloadInterval: 5 * time.Second,
			ReloadNow:      now,
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() {
			defer close(over)
			s.reloadAll(ctx)
		}()
		synctest.Wait()
		if n := loads.Load(); n != 1 {
			t.Errorf("%d loads at the start: the metrics would not show how it goes", n)
		}
		if _, ok := heard.good.Load("hangs"); !ok {
			t.Error("the metrics do not say of when that is which hangs")
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if n, hung := loads.Load(), hung.Load(); n != 13 || hung != 1 {
			t.Errorf("in a minute: %d loads beside %d that hang", n, hung)
		}
		now <- syscall.SIGHUP
		synctest.Wait()
		if forced.Load() != 1 {
			t.Error("a signal is not heeded at once")
		}
		cancel()
		<-over
	})
}
