package metrics

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

// dashboard is the part of a file in deploy/grafana that is checked here. .ci/dashboards
// checks the whole file against Grafana's own types.
type dashboard struct {
	UID           string
	SchemaVersion int
	Panels        []panel
	Links         []struct{ URL string }
	Templating    struct{ List []variable }
	Annotations   struct {
		List []struct {
			Datasource datasource
			Target     target
		}
	}
}

type variable struct {
	Name, Type string
	Datasource datasource
	Query      any // of a data source: its type
}

type panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Datasource  datasource
	Targets     []target
	Panels      []panel
	FieldConfig struct {
		Defaults struct {
			Unit       string
			Min        *float64
			NoValue    string
			Color      struct{ Mode string }
			Thresholds struct{ Steps []struct{ Value *float64 } }
		}
	}
}

type target struct {
	RefID, Expr, LegendFormat, Format string
	Range, Instant                    bool
}

type datasource struct{ Type, UID string }

var chosen = datasource{"prometheus", "${datasource}"}

// dashboards returns the files by the uid that each must keep: it is part of the
// dashboard's URL in Grafana.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	all := map[string]dashboard{}
	for name, uid := range map[string]string{"overview": "ollama-proxy-overview", "keys": "ollama-proxy-keys"} {
		text := read(t, "grafana", name+".json")
		if len(text) > 200<<10 {
			t.Errorf("%s: %d bytes are much for a ConfigMap", name, len(text))
		}
		var raw map[string]any
		var d dashboard
		for _, v := range []any{&raw, &d} {
			if err := json.Unmarshal([]byte(text), v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		for _, noise := range []string{"id", "iteration", "version", "__inputs", "__requires"} {
			if _, there := raw[noise]; there {
				t.Errorf("%s: has %q, which each export changes", name, noise)
			}
		}
		if d.UID != uid || d.SchemaVersion < 39 || d.SchemaVersion > 41 {
			t.Errorf("%s: uid %q, schema %d", name, d.UID, d.SchemaVersion)
		}
		all[uid] = d
	}
	return all
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", "deploy"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// open returns the panels, those in collapsed rows included, without the rows
// themselves.
func (d dashboard) open() (all []panel) {
	for _, p := range d.Panels {
		if p.Type != "row" {
			all = append(all, p)
		}
		all = append(all, p.Panels...)
	}
	return all
}

// family is a metric as Prometheus stores it: its type, and the possible values of each
// label. A label whose values cannot be listed has none.
type family struct {
	kind   string
	labels map[string][]string
}

// families returns all metrics that can exist: those of the registry after every event
// has happened once, and those that Prometheus adds.
func families(t *testing.T) map[string]family {
	t.Helper()
	m := New(Options{
		Version: "v1", InForce: &inForce{}, PerKey: true,
		Routes: api.RouteNames(), RefusalReasons: handler.RefusalReasons(), UpstreamErrors: upstream.Errors(),
		UpstreamChoices: upstream.Choices(), UpstreamRetries: upstream.Retries(),
	})
	m.UpstreamJoined("gpu1")
	for route := range api.RouteNames() {
		for _, code := range []int{200, 206, 304, 400, 401, 403, 404, 405, 413, 429, 499, 500, 501, 502, 503, 504} {
			m.RequestEnded(route, "POST", code, time.Second)
		}
		for _, outcome := range handler.StreamOutcomes() {
			m.StreamEnded(route, outcome)
		}
	}
	m.Answered(0, "llama3.2:latest", 1000, 1, 1)
	for _, source := range []string{"secrets", "revocations", "certificate", "upstreams"} {
		m.Reloaded(source, true, time.Now())
	}
	m.WatchCertificate(time.Now)

	all := map[string]family{
		"up":     {"GAUGE", nil},
		"ALERTS": {"GAUGE", map[string][]string{"alertname": alerts(t), "alertstate": {"pending", "firing"}}},
	}
	gathered, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range gathered {
		labels := map[string][]string{}
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				labels[l.GetName()] = append(labels[l.GetName()], l.GetValue())
			}
		}
		all[f.GetName()] = family{f.GetType().String(), labels}
	}
	return all
}

// alerts returns the names of all alerts.
func alerts(t *testing.T) (names []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(read(t, "prometheus", "alerts.yaml"), -1) {
		names = append(names, m[1])
	}
	return names
}

func TestDashboardsQueryExistingMetrics(t *testing.T) {
	known := families(t)
	shown := map[string]bool{}
	for uid, d := range dashboards(t) {
		check := func(where string, expr string) (names []string) {
			for _, s := range readPromQL(t, expr) {
				names = append(names, checkSelector(t, uid+": "+where, known, d, s))
			}
			checkQuantile(t, uid+": "+where, expr)
			return names
		}
		for _, p := range d.open() {
			for _, target := range p.Targets {
				for _, name := range check(p.Title, target.Expr) {
					shown[name] = true
					if !strings.Contains(p.Description, "`"+name+"`") {
						t.Errorf("%s: %s: the description does not name %s", uid, p.Title, name)
					}
				}
				for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
					if !slices.ContainsFunc(readPromQL(t, target.Expr), func(s selector) bool { return slices.Contains(s.by, m[1]) }) {
						t.Errorf("%s: %s: %s drops the label %s that the legend uses", uid, p.Title, target.Expr, m[1])
					}
				}
			}
		}
		for _, a := range d.Annotations.List {
			check("annotation", a.Target.Expr)
		}
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			query, _ := v.Query.(map[string]any)
			text, _ := query["query"].(string)
			m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(text)
			if m == nil || m[2] != v.Name || v.Datasource != chosen {
				t.Fatalf("%s: the variable %s is not the label that it is named after", uid, v.Name)
			}
			check("variable "+v.Name, "count by ("+v.Name+") ("+m[1]+")")
		}
	}
	for name := range known {
		if strings.HasPrefix(name, namespace) && !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// checkSelector checks one selector and returns the name of its family.
func checkSelector(t *testing.T, where string, known map[string]family, d dashboard, s selector) string {
	t.Helper()
	name, kind := s.name, known[s.name].kind
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(s.name, suffix); ok && kind == "" && slices.Contains([]string{"HISTOGRAM", "SUMMARY"}, known[base].kind) {
			name, kind = base, suffix
		}
	}
	f, ok := known[name]
	switch {
	case ok:
	case runtime.GOOS != "linux" && strings.HasPrefix(name, "process_"):
		return name // other systems report less about a process
	default:
		t.Errorf("%s: there is no %s", where, s.name)
		return name
	}
	has := func(label string) bool {
		_, ok := f.labels[label]
		return ok || label == "job" || label == "instance" || label == "le" && kind == "_bucket"
	}
	for _, label := range s.by {
		if !has(label) {
			t.Errorf("%s: %s has no label %s", where, s.name, label)
		}
	}
	var narrowed []string
	for _, m := range s.matchers {
		if !has(m.label) {
			t.Errorf("%s: %s has no label %s", where, s.name, m.label)
			continue
		}
		if m == (matcher{m.label, "=~", "$" + m.label}) {
			narrowed = append(narrowed, m.label)
			if !slices.ContainsFunc(d.Templating.List, func(v variable) bool { return v.Name == m.label }) {
				t.Errorf("%s: there is no variable %s", where, m.label)
			}
			continue
		}
		for _, one := range m.alternatives() {
			if r := regexp.MustCompile("^(?:" + one + ")$"); !slices.ContainsFunc(f.labels[m.label], r.MatchString) {
				t.Errorf("%s: the label %s of %s is never %s", where, m.label, s.name, one)
			}
		}
	}
	if !strings.HasPrefix(where, d.UID+": variable") && name != "ALERTS" && (!slices.Contains(narrowed, "job") || !slices.Contains(narrowed, "instance")) {
		t.Errorf("%s: %s selects all jobs and replicas, not the chosen ones", where, s.name)
	}

	// A counter is useful as a rate or an increase, or as a number of series.
	call := ""
	if len(s.calls) > 0 {
		call = s.calls[len(s.calls)-1]
	}
	grows := kind != "GAUGE"
	switch {
	case call == "rate" && grows && s.window == "$__rate_interval":
	case call == "increase" && grows && s.window == "$__range":
	case call != "rate" && call != "increase" && s.window == "" && (!grows || call == "count"):
	default:
		t.Errorf("%s: %s, a %s, is used as %s over %q", where, s.name, kind, cmp.Or(call, "value"), s.window)
	}
	if quantile := slices.Contains(s.calls, "histogram_quantile"); quantile != (kind == "_bucket" || kind == "HISTOGRAM") {
		t.Errorf("%s: %s and histogram_quantile do not belong together", where, s.name)
	}
	return name
}

// checkQuantile checks that a quantile falls back from classic histograms to native
// ones, which have no buckets to sum by le.
func checkQuantile(t *testing.T, where, expr string) {
	t.Helper()
	if !strings.Contains(expr, "histogram_quantile") {
		return
	}
	classic, native, _ := strings.Cut(expr, " or ")
	want := strings.NewReplacer("_bucket{", "{", "sum by (le) (", "sum(", "by (le, ", "by (").Replace(classic)
	if classic == want || native != want {
		t.Errorf("%s: want %s or %s", where, classic, want)
	}
}

func TestDashboardsAreWellFormed(t *testing.T) {
	for uid, d := range dashboards(t) {
		if v := d.Templating.List[0]; v.Name != "datasource" || v.Type != "datasource" || v.Query != "prometheus" {
			t.Errorf("%s: the first variable does not choose the data source: %+v", uid, v)
		}
		ids, titles := map[int]bool{}, map[string]bool{}
		var taken [24][]string // by column and row
		place := func(p panel) {
			g := p.GridPos
			if ids[p.ID] || titles[p.Title] || p.Title == "" || g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > len(taken) {
				t.Errorf("%s: %s: its id or title is not its own, or it is out of the grid", uid, p.Title)
				return
			}
			ids[p.ID], titles[p.Title] = true, true
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					for len(taken[x]) <= y {
						taken[x] = append(taken[x], "")
					}
					if taken[x][y] != "" {
						t.Fatalf("%s: %s overlaps %s", uid, p.Title, taken[x][y])
					}
					taken[x][y] = p.Title
				}
			}
		}
		for _, p := range d.Panels {
			place(p)
			for _, hidden := range p.Panels {
				place(hidden)
			}
		}
		for _, p := range d.open() {
			defaults := p.FieldConfig.Defaults
			if p.Datasource != chosen || defaults.Unit == "" || defaults.NoValue == "" || p.Description == "" || len(p.Targets) == 0 {
				t.Errorf("%s: %s: data source, unit, description, targets or text for no data are not as they should be", uid, p.Title)
			}
			// A negative time means that a certificate has expired.
			if p.Type != "table" && defaults.Min == nil && p.Title != "Certificate ends in" {
				t.Errorf("%s: %s: its axis does not begin at 0", uid, p.Title)
			}
			steps := defaults.Thresholds.Steps
			if defaults.Color.Mode == "thresholds" && len(steps) == 0 {
				t.Errorf("%s: %s: is coloured by thresholds but has none", uid, p.Title)
			}
			for i, s := range steps {
				if (s.Value == nil) != (i == 0) || i > 1 && *s.Value <= *steps[i-1].Value {
					t.Errorf("%s: %s: thresholds out of order", uid, p.Title)
				}
			}
			refs := map[string]bool{}
			for _, target := range p.Targets {
				if refs[target.RefID] || target.Range == target.Instant || (target.Format == "table") != (p.Type == "table") {
					t.Errorf("%s: %s: target %s is not unique, or neither instant nor a range", uid, p.Title, target.RefID)
				}
				refs[target.RefID] = true
			}
		}
		for _, a := range d.Annotations.List {
			if a.Datasource != chosen {
				t.Errorf("%s: an annotation from %v", uid, a.Datasource)
			}
		}
	}
}

// TestDashboardsCoverTheAlerts: for each alert there is a panel with the same bound, and
// the dashboards link to the page that says what to do.
func TestDashboardsCoverTheAlerts(t *testing.T) {
	all := dashboards(t)
	rules := read(t, "prometheus", "alerts.yaml")
	for _, alert := range alerts(t) {
		if !slices.ContainsFunc(all["ollama-proxy-overview"].open(), func(p panel) bool {
			_, named, _ := strings.Cut(p.Description, "Alert: ")
			return slices.Contains(regexp.MustCompile(`\w+`).FindAllString(named, -1), alert)
		}) {
			t.Errorf("no panel names %s", alert)
		}
	}
	bounds := map[string]map[string]float64{ // by panel, as in the rules
		"Requests that fail":     {"> 0.05": 0.05},
		"Streams that break off": {"> 0.05": 0.05},
		"Certificate ends in":    {"< 14 * 24 * 3600": 14 * 24 * 3600, "< 2 * 24 * 3600": 2 * 24 * 3600},
	}
	for _, p := range all["ollama-proxy-overview"].open() {
		for text, bound := range bounds[p.Title] {
			if !strings.Contains(rules, text) || !slices.ContainsFunc(p.FieldConfig.Defaults.Thresholds.Steps, func(s struct{ Value *float64 }) bool {
				return s.Value != nil && *s.Value == bound
			}) {
				t.Errorf("%s and its alert have different bounds, %s", p.Title, text)
			}
		}
		delete(bounds, p.Title)
	}
	for title := range bounds {
		t.Errorf("there is no panel %s", title)
	}
	for uid, d := range all {
		others := slices.DeleteFunc(slices.Collect(maps.Keys(all)), func(o string) bool { return o == uid })
		for _, l := range d.Links {
			page, heading, _ := strings.Cut(l.URL, "#")
			switch {
			case l.URL == "/d/"+others[0]:
			case strings.HasSuffix(page, "/blob/main/deploy/prometheus/README.md") && heading == "what-to-do" && strings.Contains(read(t, "prometheus", "README.md"), "\n## What to do\n"):
			default:
				t.Errorf("%s: a link leads to %s", uid, l.URL)
			}
		}
		if len(d.Links) != 2 {
			t.Errorf("%s: %d links, want the other dashboard and the page that says what to do", uid, len(d.Links))
		}
	}
}
