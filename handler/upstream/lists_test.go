package upstream

import "testing"

// TestListsAreCurrentUntilModelsChange: after a change, a list must be read again before
// it counts, unless its backend gets no request before that anyway, because it is down.
func TestListsAreCurrentUntilModelsChange(t *testing.T) {
	up, down := &backend{Name: "up"}, &backend{Name: "down"}
	up.up.Store(true)
	pl := &Pool{}
	pl.roster.Store(&roster{models: map[string][]*placement{
		"tiny:latest": {{backend: up}, {backend: down}}, "old:latest": {{backend: down}},
	}})
	list := func(m *backend) { m.listedAt.Store(pl.clock.Add(1)) }
	check := func(when, named, model string, want bool) {
		t.Helper()
		if got := pl.IsListed(&Request{Named: named}, model); got != want {
			t.Errorf("%s, %s, of %q: %t", when, model, named, got)
		}
	}
	list(up)
	list(down)
	check("at first", "", "tiny:latest", true)
	check("at first", "", "other:latest", false)
	check("at first", "up", "old:latest", false)
	pl.ModelsChanged()
	check("after a change", "", "tiny:latest", false)
	check("after a change", "down", "old:latest", false)
	check("after a change", "", "old:latest", true)
	list(up)
	check("after a probe", "", "tiny:latest", true)
	check("after a probe", "up", "tiny:latest", true)
	check("after a probe", "down", "tiny:latest", false)
}
