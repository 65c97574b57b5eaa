package access

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestWhatIsLeft(t *testing.T) {
	b := Budgets{Defaults: Defaults{Streams: 5}}
	now := time.Unix(1e9, 0)
	root := minted(t, "rpm=60")
	narrow := narrowed(t, root, "rpm=3", "streams=2")
	l := limits(t, narrow)
	want := func(when string, want ...Left) {
		t.Helper()
		if got := b.Left(l, now); !slices.Equal(got, want) {
			t.Errorf("%s: %+v, not %+v", when, got, want)
		}
	}
	want("at first", Left{ReasonRPM, 60, 60, 0, false}, Left{ReasonRPM, 3, 3, 0, false}, Left{ReasonStreams, 5, 5, 0, true}, Left{ReasonStreams, 2, 2, 0, false})
	if len(b.all) != 0 {
		t.Error("looking has made accounts")
	}
	done, _, _ := b.Spend(l, now)
	want("one runs", Left{ReasonRPM, 60, 59, time.Second, false}, Left{ReasonRPM, 3, 2, 20 * time.Second, false}, Left{ReasonStreams, 5, 4, 0, true}, Left{ReasonStreams, 2, 1, 0, false})
	b.Spend(limits(t, root), now)
	want("the one that it was made from has another", Left{ReasonRPM, 60, 58, 2 * time.Second, false}, Left{ReasonRPM, 3, 2, 20 * time.Second, false}, Left{ReasonStreams, 5, 3, 0, true}, Left{ReasonStreams, 2, 1, 0, false})
	done()
	now = now.Add(10 * time.Second)
	want("10 s later", Left{ReasonRPM, 60, 60, 0, false}, Left{ReasonRPM, 3, 2, 10 * time.Second, false}, Left{ReasonStreams, 5, 4, 0, true}, Left{ReasonStreams, 2, 2, 0, false})
}

// TestLeftRequestsIsOfTheTightest: what a client is told is what it can rely on.
func TestLeftRequestsIsOfTheTightest(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, row := range []struct {
		caveats  []string
		defaults Defaults
		spent    int
		want     Left
	}{
		{nil, Defaults{}, 1, Left{}},
		{[]string{"streams=2"}, Defaults{Streams: 1}, 0, Left{}},
		{nil, Defaults{RPM: 10}, 4, Left{ReasonRPM, 10, 6, 24 * time.Second, true}},
		{[]string{"rpm=60"}, Defaults{RPM: 10}, 4, Left{ReasonRPM, 60, 56, 4 * time.Second, false}},
		{[]string{"rpm=60", "rpm=5", "rpm=30"}, Defaults{}, 5, Left{ReasonRPM, 5, 0, time.Minute, false}},
		{[]string{"rpm=5", "rpm=5"}, Defaults{}, 9, Left{ReasonRPM, 5, 0, time.Minute, false}},
	} {
		b := Budgets{Defaults: row.defaults}
		l := limits(t, minted(t, row.caveats...))
		for range row.spent {
			if done, reason, _ := b.Spend(l, now); reason == "" {
				done()
			}
		}
		if got, ok := b.LeftRequests(l, now); got != row.want || ok != (row.want != Left{}) {
			t.Errorf("%v, defaults %+v: %+v, %t, not %+v", row.caveats, row.defaults, got, ok, row.want)
		}
		for left, ok := b.LeftRequests(l, now); ok && left.Remaining > 0; left.Remaining-- {
			if _, reason, _ := b.Spend(l, now); reason != "" && len(row.caveats) > 0 {
				t.Errorf("%v: it was told of %d more, and is refused: %s", row.caveats, left.Remaining, reason)
			}
		}
	}
}

func TestHeadersAsOpenAIHasThem(t *testing.T) {
	for reset, want := range map[time.Duration]string{
		0: "0s", 1: "1ms", 17 * time.Millisecond: "17ms", time.Second: "1s", 8640 * time.Millisecond: "8.64s", 6 * time.Minute: "6m0s", time.Minute - 1: "1m0s", 90*time.Second + 1: "1m30.001s",
	} {
		h := http.Header{}
		Left{Limit: 60, Remaining: 3, Reset: reset}.SetHeaders(h)
		if h.Get("x-ratelimit-limit-requests") != "60" || h.Get("x-ratelimit-remaining-requests") != "3" || h.Get("x-ratelimit-reset-requests") != want {
			t.Errorf("%v: %v", reset, h)
		}
		if d, err := time.ParseDuration(h.Get("x-ratelimit-reset-requests")); err != nil || d < reset {
			t.Errorf("%v is read as %v, %v", reset, d, err)
		}
		if len(h) != 3 {
			t.Errorf("%v", h)
		}
	}
}
