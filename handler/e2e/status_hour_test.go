package e2e_test

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/e2e"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/server"
	"github.com/ollama-proxy/ollama-proxy/handler/status"
)

// tallying guards a test's counters against those who look.
var tallying sync.Mutex

// watched looks at a server whose counters are the test's, in a bubble.
func watched(t *testing.T, now *status.Totals, f func(look func() status.Status)) {
	synctest.Test(t, func(t *testing.T) {
		s := &server.Server{InForce: handlertest.InForce{}, Totals: func() status.Totals {
			tallying.Lock()
			defer tallying.Unlock()
			c := *now
			c.Requests, c.Refusals, c.ModelPrompt, c.ModelCompletion = maps.Clone(c.Requests), maps.Clone(c.Refusals), maps.Clone(c.ModelPrompt), maps.Clone(c.ModelCompletion)
			return c
		}}
		s.Proxy = handler.New(handler.Options{Upstream: &url.URL{Scheme: "http", Host: handlertest.ClosedAddress}, Recorder: handlertest.NopRecorder{}})
		look, remember := e2e.Watch(s)
		ctx, stop := context.WithCancel(t.Context())
		go remember(ctx)
		f(look)
		stop()
		synctest.Wait()
	})
}

func TestHourCountsEachMinute(t *testing.T) {
	t.Parallel()
	chat := 0 // the place of a route of chats
	firstBytes := func(all ...uint64) [][]uint64 {
		routes := make([][]uint64, len(api.RouteNames()))
		for i := range routes {
			routes[i] = make([]uint64, 4)
		}
		routes[chat] = all
		lists := slices.Index(api.RouteNames(), "/api/tags") // which are no chats, and soon there
		routes[lists] = []uint64{7 * all[3], 7 * all[3], 7 * all[3], 7 * all[3]}
		return routes
	}
	now := &status.Totals{
		Requests: map[int]uint64{200: 1000}, Refusals: map[string]uint64{"bad_signature": 50, "rpm": 0},
		ModelPrompt: map[string]uint64{"a": 5}, ModelCompletion: map[string]uint64{"a": 7},
		FirstByteBounds: []float64{0.1, 1, 10}, FirstByte: firstBytes(100, 100, 100, 100), Bytes: 10_000,
	}
	watched(t, now, func(look func() status.Status) {
		if h := look().Hour; len(h.Requests) != 1 || h.Requests[0] != 0 || h.P50[0] != nil || len(h.Reasons) != 0 {
			t.Errorf("before anything happened: %+v", h)
		}
		time.Sleep(30 * time.Second)
		tallying.Lock()
		now.Requests[200], now.Requests[502], now.Requests[499] = 1010, 3, 2
		now.Refusals["rpm"] = 4
		now.ModelPrompt["a"], now.ModelCompletion["b"] = 6, 9
		now.Bytes += 500
		now.FirstByte = firstBytes(110, 120, 120, 120) // ten up to 0.1 s, ten more up to 1 s
		tallying.Unlock()
		h := look().Hour
		if len(h.Requests) != 1 || h.Requests[0] != 15 || h.Failed[0] != 3 || h.Left[0] != 2 || h.Refused[0] != 4 || h.Bytes[0] != 500 || h.Tokens[0] != 10 || h.Seconds != 30 {
			t.Errorf("in its first minute: %+v", h)
		}
		if len(h.Reasons) != 1 || h.Reasons["rpm"] != 4 {
			t.Errorf("refused for %v", h.Reasons)
		}
		if *h.P50[0] != 0.1 || *h.P95[0] < 0.9 || *h.P95[0] > 1 || *h.AllP50 != 0.1 {
			t.Errorf("p50 %v, p95 %v", *h.P50[0], *h.P95[0])
		}

		time.Sleep(time.Minute)
		tallying.Lock()
		now.Requests[200]++
		now.FirstByte = firstBytes(110, 120, 120, 121) // one above all bounds
		tallying.Unlock()
		h = look().Hour
		if len(h.Requests) != 2 || h.Requests[0] != 15 || h.Requests[1] != 1 || h.Refused[1] != 0 || *h.P95[1] != 10 {
			t.Errorf("in its second minute: %+v", h)
		}
		time.Sleep(58 * time.Minute)
		if h = look().Hour; len(h.Requests) != 60 || h.Requests[0] != 15 || h.Requests[1] != 1 {
			t.Errorf("in its last minute: %+v", h.Requests)
		}
		time.Sleep(time.Minute)
		if h = look().Hour; len(h.Requests) != 60 || h.Requests[0] != 1 || len(h.Reasons) != 0 {
			t.Errorf("an hour later: %+v, %v", h.Requests, h.Reasons)
		}
	})
}

func TestTotalsAreSorted(t *testing.T) {
	t.Parallel()
	now := &status.Totals{
		FirstByteBounds: []float64{1},
		ModelBytes:      map[string]uint64{"small": 1, "big": 100, "also": 1}, ModelPrompt: map[string]uint64{"big": 3},
		KeyRequests: map[[2]string]uint64{{"bob", "1"}: 2, {"alice", "3"}: 2, {"alice", "2"}: 2, {"carol", "4"}: 9, {"other", "other"}: 0, {"", "5"}: 1},
		KeyTokens:   map[[2]string]uint64{{"carol", "4"}: 4},
		ReloadOK:    map[string]bool{"secrets": true, "revocations": false}, ReloadedAt: map[string]time.Time{"secrets": time.Unix(5, 0)},
	}
	watched(t, now, func(look func() status.Status) {
		st := look()
		if m := st.Models; len(m) != 3 || m[0].Model != "big" || m[0].Prompt != 3 || m[1].Model != "also" {
			t.Errorf("models: %+v", m)
		}
		if k := st.Keys; !st.KeysCounted || len(k) != 5 || k[0].Key != "carol" || k[0].Tokens != 4 || k[1].Key != "alice" || k[1].ID != "2" || k[2].ID != "3" || k[4].Key != "" || k[4].ID != "5" {
			t.Errorf("keys: %+v", k)
		}
		if r := st.Reloads; len(r) != 2 || r[0].Source != "revocations" || r[0].OK || !r[1].OK || r[1].At.Unix() != 5 {
			t.Errorf("reloads: %+v", r)
		}
		if st.Upstreams[0].Up {
			t.Error("Ollama does not answer, and is shown as up")
		}
	})
}
