package top

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/status"
	"github.com/ollama-proxy/ollama-proxy/handler/table"
)

// line is one line of what Top shows.
type line struct {
	text  string
	style style
}

// style is how a line looks on a terminal.
type style string

const (
	plainText   style = ""
	headingText style = "\x1b[1m"
	badText     style = "\x1b[1;31m"
	faintText   style = "\x1b[2m"
)

// topLines is a Status in lines of at most so many columns; 0 means that there is
// no bound, and that they are for a program rather than for a person.
func topLines(s status.Status, width int) []line {
	var lines []line
	add := func(style style, format string, a ...any) {
		lines = append(lines, line{table.Cut(table.Printable(fmt.Sprintf(format, a...)), width), style})
	}
	up := inWords(s.Now.Sub(s.Started))
	if s.Draining {
		add(badText, "ollama-proxy %s, up %s, shutting down", s.Version, up)
	} else {
		add(headingText, "ollama-proxy %s, up %s", s.Version, up)
	}
	h := s.Hour
	add(plainText, "Running     %s, %s", countOf(s.Requests, "request"), countOf(s.Streams, "stream"))
	failed := plainText
	if sumOf(h.Failed) > 0 {
		failed = badText
	}
	add(failed, "Last hour   %s, %d failed, %s left early", countOf(int(sumOf(h.Requests)), "request"), sumOf(h.Failed), countOf(int(sumOf(h.Left)), "client"))
	add(plainText, "Refused     %s", refusals(h))
	if h.AllP50 != nil && h.AllP95 != nil {
		add(plainText, "First byte  p50 %s, p95 %s of chats in the last hour", about(*h.AllP50), about(*h.AllP95))
	}
	for _, u := range s.Upstreams {
		if u.Up {
			add(plainText, "Ollama      %s: up, %s, loaded: %s", u.Name, countOf(u.Models, "model"), listOf(u.Loaded))
		} else {
			add(badText, "Ollama      %s: does not answer", u.Name)
		}
	}
	add(plainText, "Keys        %d revoked (list %s), secrets %s", s.Revocations, s.RevocationsHash, s.SecretFingerprint)
	for _, r := range s.Reloads {
		if !r.OK {
			add(badText, "            %s cannot be read again: the log says why", r.Source)
		}
	}
	if s.CertificateEnds != nil {
		add(plainText, "Certificate ends on %s", s.CertificateEnds.Format(time.DateOnly))
	}
	if width > 0 {
		add(plainText, "Requests/min %s", sparkline(h.Requests, width-20))
		add(plainText, "Refused/min  %s", sparkline(h.Refused, width-20))
	}
	show := func(t table.Table) {
		if len(t.Rows) == 0 {
			return
		}
		lines = append(lines, line{})
		for i, text := range t.Lines(width) {
			if i == 0 {
				lines = append(lines, line{text, headingText})
			} else {
				lines = append(lines, line{text, plainText})
			}
		}
	}
	show(runningTable(s))
	if more := s.Requests - len(s.Running); more > 0 && len(s.Running) > 0 {
		add(faintText, "and %d younger ones", more)
	}
	show(modelTable(s))
	show(keyTable(s))
	return lines
}

func runningTable(s status.Status) table.Table {
	t := table.Table{Columns: []table.Column{
		{Title: "KEY", Side: table.Left}, {Title: "ID", Side: table.ID}, {Title: "MODEL", Side: table.Left, Drop: 2}, {Title: "ROUTE", Side: table.Left, Drop: 4}, {Title: "STATE", Side: table.Left, Drop: 5}, {Title: "AGE", Side: table.Right}, {Title: "BYTES", Side: table.Right, Drop: 3}, {Title: "RATE", Side: table.Right, Drop: 1},
	}}
	for _, r := range s.Running {
		t.Add(labelOf(r.Key), r.ID, r.Model, r.Route, r.State, inWords(fromSeconds(r.Age)), inBytes(float64(r.Bytes)), inBytes(r.Rate)+"/s")
	}
	return t
}

func modelTable(s status.Status) table.Table {
	t := table.Table{Columns: []table.Column{
		{Title: "MODEL", Side: table.Left}, {Title: "READ", Side: table.Right, Drop: 1}, {Title: "WRITTEN", Side: table.Right}, {Title: "BYTES", Side: table.Right, Drop: 2},
	}}
	for _, m := range s.Models {
		t.Add(m.Model, fmt.Sprint(m.Prompt), fmt.Sprint(m.Completion), inBytes(float64(m.Bytes)))
	}
	return t
}

func keyTable(s status.Status) table.Table {
	t := table.Table{Columns: []table.Column{
		{Title: "KEY", Side: table.Left}, {Title: "ID", Side: table.ID}, {Title: "REQUESTS", Side: table.Right}, {Title: "TOKENS", Side: table.Right, Drop: 1}, {Title: "BYTES", Side: table.Right, Drop: 2},
	}}
	for _, k := range s.Keys {
		t.Add(labelOf(k.Key), k.ID, fmt.Sprint(k.Requests), fmt.Sprint(k.Tokens), inBytes(float64(k.Bytes)))
	}
	return t
}

// labelOf is a key's label, or a dash.
func labelOf(label string) string { return cmp.Or(label, "-") }

// refusals are how many there were, and why, the most frequent reason first.
func refusals(h status.Hour) string {
	reasons := slices.SortedFunc(maps.Keys(h.Reasons), func(a, b string) int {
		if d := int(h.Reasons[b]) - int(h.Reasons[a]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, reason := range reasons {
		reasons[i] = fmt.Sprintf("%s %d", reason, h.Reasons[reason])
	}
	if len(reasons) == 0 {
		return "0"
	}
	return fmt.Sprintf("%d: %s", sumOf(h.Refused), strings.Join(reasons, ", "))
}

func listOf(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

// sparkline draws the last so many values, and says how high the highest is.
func sparkline(values []uint64, width int) string {
	values = values[max(0, len(values)-max(width, 0)):]
	most := uint64(0)
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	for _, v := range values {
		eighths := 0
		if most > 0 {
			eighths = int(math.Ceil(float64(v) / float64(most) * 8))
		}
		b.WriteRune([]rune(" ▁▂▃▄▅▆▇█")[eighths])
	}
	return fmt.Sprintf("%s max %d", b.String(), most)
}

func sumOf(values []uint64) (sum uint64) {
	for _, v := range values {
		sum += v
	}
	return sum
}

func countOf(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func fromSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// about is a number of seconds that a histogram gives.
func about(s float64) string { return "≈ " + inWords(fromSeconds(s)) }

// inWords is a duration in its two largest units.
func inWords(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

func inBytes(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; n >= 1000 && i < len(units)-1; i++ {
		n /= 1024
	}
	if i > 0 && n < 10 {
		return fmt.Sprintf("%.1f %s", n, units[i])
	}
	return fmt.Sprintf("%.0f %s", n, units[i])
}
