package upstream

import "testing"

// TestListsCountUntilARequestChangesThem: a list that was asked for before is not
// relied upon, unless it is of one that gets no request before it is read again.
func TestListsCountUntilARequestChangesThem(t *testing.T) {
	up, down := &backend{Name: "up"}, &backend{Name: "down"}
	up.up.Store(true)
	pl := &Pool{}
	pl.roster.Store(&roster{models: map[string][]*placement{
		"tiny:latest": {{backend: up}, {backend: down}}, "old:latest": {{backend: down}},
	}})
	take := func(m *backend) { m.listedAt.Store(pl.clock.Add(1)) }
	check := func(when, named, model string, want bool) {
		t.Helper()
		if got := pl.IsListed(&Request{Named: named}, model); got != want {
			t.Errorf("%s, %s, of %q: %t", when, model, named, got)
		}
	}
	take(up)
	take(down)
	check("at first", "", "tiny:latest", true)
	check("at first", "", "other:latest", false)
	check("at first", "up", "old:latest", false)
	pl.ModelsChanged()
	check("after a change", "", "tiny:latest", false)
	check("after a change", "down", "old:latest", false)
	check("after a change", "", "old:latest", true)
	take(up)
	check("after a look", "", "tiny:latest", true)
	check("after a look", "up", "tiny:latest", true)
	check("after a look", "down", "tiny:latest", false)
}
