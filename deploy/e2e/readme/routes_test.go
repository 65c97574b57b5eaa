package readme

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// routeNames are the names of all routes that there are.
func routeNames() []string {
	names := api.RouteNames()
	return names[:len(names)-1] // the last one stands for every other path
}

// route is one route as README.md has it.
type route struct{ class, keys, methods string }

var classes = []string{"chat", "embed", "models", "admin"}

// readRoutes reads the table of routes. A row has the class, which keys pass, and
// the routes: after methods, separated by commas, the paths that take them; after
// a semicolon, others.
func readRoutes(t *testing.T) map[string]route {
	t.Helper()
	all := map[string]route{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (all|admin) \\| (.*) \\|$").FindAllStringSubmatch(section(t, "Routes"), -1) {
		for _, some := range strings.Split(row[3], "; ") {
			methods, _, _ := strings.Cut(some, " `")
			for _, path := range quoted(some) {
				if _, twice := all[path]; twice {
					t.Errorf("%s stands there twice", path)
				}
				all[path] = route{row[1], row[2], methods}
			}
		}
	}
	return all
}

// TestRoutes asks on each route of the table, with each method, with an ordinary key, an
// ADMIN one, and one for each class, and looks at which of them are let through.
func TestRoutes(t *testing.T) {
	t.Parallel()
	routes := readRoutes(t)
	for _, name := range routeNames() {
		if _, ok := routes[name]; !ok {
			t.Errorf("the table lacks %s", name)
		}
	}
	s := handlertest.Start(t, handlertest.Config{})
	// It can be read as the body of any route, so that the route alone decides.
	const form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ntiny\r\n--b--\r\n"
	ask := func(method, path, key string) handlertest.Answer {
		w := s.Dial(t)
		defer w.Close()
		w.Send(method, path, form, handlertest.Bearer(key), "Content-Type: multipart/form-data; boundary=b")
		return w.Answer(method)
	}
	for name, r := range routes {
		if !slices.Contains(routeNames(), name) {
			t.Errorf("the table has %s, and there is no such route", name)
			continue
		}
		path := strings.NewReplacer("{model}", "tiny", "{digest}", "sha256:0000").Replace(name)
		if got := ask("PUT", path, s.Admin); got.Status != 405 || got.Header.Get("Allow") != r.methods {
			t.Errorf("%s takes %q, not %q", name, got.Header.Get("Allow"), r.methods)
		}
		method, _, _ := strings.Cut(r.methods, ", ")
		if got, admin := ask(method, path, s.Key), r.keys == "admin"; (got.Status == 403) != admin {
			t.Errorf("%s is for %s keys, and an ordinary one gets %d", name, r.keys, got.Status)
		}
		for _, class := range classes {
			got := ask(method, path, s.Mint(true, "routes="+class))
			if (got.Status != 403) != (class == r.class || r.class == "any") {
				t.Errorf("%s is of the class %s, and a key for %s gets %d", name, r.class, class, got.Status)
			}
		}
	}
}
