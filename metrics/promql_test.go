package metrics

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// selector is one selector of series in an expression.
type selector struct {
	name     string
	matchers []matcher
	window   string   // the text between [ and ], or empty
	calls    []string // the functions and aggregations around it, the innermost last
	by       []string // the labels that those aggregations keep
}

type matcher struct{ label, op, value string }

// alternatives returns the values that a matcher selects.
func (m matcher) alternatives() []string {
	if strings.HasSuffix(m.op, "~") {
		return strings.Split(m.value, "|")
	}
	return []string{regexp.QuoteMeta(m.value)}
}

var (
	promWord  = regexp.MustCompile(`^[A-Za-z_:][A-Za-z0-9_:]*$`)
	promToken = regexp.MustCompile(`"[^"]*"|[A-Za-z_:][A-Za-z0-9_:]*|=~|!~|!=|\[[^\]]*\]|\S`)
)

// readPromQL finds the selectors of an expression. It understands only as much PromQL as
// the dashboards use: "by" comes before the brackets, and a word that is followed by
// neither brackets nor "by" is a metric.
func readPromQL(t *testing.T, expr string) (all []selector) {
	t.Helper()
	type bracket struct {
		call string
		by   []string
	}
	var open []bracket
	var next bracket // what applies to the next bracket
	tokens := promToken.FindAllString(expr, -1)
	at := func(i int) string {
		if i < len(tokens) {
			return tokens[i]
		}
		return ""
	}
	// until returns the tokens up to end, without commas, and the index after it.
	until := func(i int, end string) (inside []string, after int) {
		for ; at(i) != end; i++ {
			if at(i) == "" {
				t.Fatalf("no %s in %s", end, expr)
			}
			if at(i) != "," {
				inside = append(inside, at(i))
			}
		}
		return inside, i + 1
	}
	for i := 0; i < len(tokens); {
		switch token := tokens[i]; {
		case token == "(":
			open, next = append(open, next), bracket{}
			i++
		case token == ")":
			if len(open) == 0 {
				t.Fatalf("too many ) in %s", expr)
			}
			open = open[:len(open)-1]
			i++
		case token == "by" && at(i+1) == "(":
			next.by, i = until(i+2, ")")
		case slices.Contains([]string{"and", "or", "bool"}, token) || !promWord.MatchString(token):
			i++
		case at(i+1) == "(" || at(i+1) == "by":
			next = bracket{call: token}
			i++
		default:
			s := selector{name: token}
			i++
			if at(i) == "{" {
				var inside []string
				if inside, i = until(i+1, "}"); len(inside)%3 != 0 {
					t.Fatalf("cannot read the matchers of %s in %s", s.name, expr)
				}
				for m := range slices.Chunk(inside, 3) {
					s.matchers = append(s.matchers, matcher{m[0], m[1], strings.Trim(m[2], `"`)})
				}
			}
			if strings.HasPrefix(at(i), "[") {
				s.window = strings.Trim(at(i), "[]")
				i++
			}
			for _, b := range open {
				s.calls = append(s.calls, b.call)
				s.by = append(s.by, b.by...)
			}
			all = append(all, s)
		}
	}
	if len(open) > 0 {
		t.Fatalf("too few ) in %s", expr)
	}
	return all
}

func TestReadPromQL(t *testing.T) {
	got := readPromQL(t, `histogram_quantile(0.9, sum by (le, route) (rate(a_bucket{job=~"$job", code!="2"}[$__rate_interval])))
		or 0 * count(b) and topk(3, count_values by (job) ("value", c{}) > bool 1)`)
	want := []selector{
		{"a_bucket", []matcher{{"job", "=~", "$job"}, {"code", "!=", "2"}}, "$__rate_interval", []string{"histogram_quantile", "sum", "rate"}, []string{"le", "route"}},
		{"b", nil, "", []string{"count"}, nil},
		{"c", nil, "", []string{"topk", "count_values"}, []string{"job"}},
	}
	if !slices.EqualFunc(got, want, func(a, b selector) bool {
		return a.name == b.name && a.window == b.window && slices.Equal(a.matchers, b.matchers) && slices.Equal(a.calls, b.calls) && slices.Equal(a.by, b.by)
	}) {
		t.Errorf("read %v", got)
	}
}
