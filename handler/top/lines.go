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

// line is one line of the output.
type line struct {
	text  string
	style style
}

// style is the escape sequence that sets the style of a line on a terminal.
type style string

const (
	plainText   style = ""
	headingText style = "\x1b[1m"
	errorText   style = "\x1b[1;31m"
	faintText   style = "\x1b[2m"
)

// statusLines formats a Status in lines of at most width columns. If width is 0, lines
// have any length, and the charts are left out.
func statusLines(s status.Status, width int) []line {
	var lines []line
	add := func(style style, format string, a ...any) {
		lines = append(lines, line{table.Truncate(table.Printable(fmt.Sprintf(format, a...)), width), style})
	}
	up := formatDuration(s.Now.Sub(s.Started))
	if s.Draining {
		add(errorText, "ollama-proxy %s, up %s, shutting down", s.Version, up)
	} else {
		add(headingText, "ollama-proxy %s, up %s", s.Version, up)
	}
	h := s.Hour
	add(plainText, "Running     %s, %s", plural(s.Requests, "request"), plural(s.Streams, "stream"))
	failed := plainText
	if sum(h.Failed) > 0 {
		failed = errorText
	}
	add(failed, "Last hour   %s, %d failed, %s left early", plural(int(sum(h.Requests)), "request"), sum(h.Failed), plural(int(sum(h.Left)), "client"))
	add(plainText, "Refused     %s", refusals(h))
	if h.AllP50 != nil && h.AllP95 != nil {
		add(plainText, "First byte  p50 %s, p95 %s of chats in the last hour", approxDuration(*h.AllP50), approxDuration(*h.AllP95))
	}
	for _, u := range s.Upstreams {
		if u.Up {
			add(plainText, "Ollama      %s: up, %s, loaded: %s", u.Name, plural(u.Models, "model"), joinOrNone(u.Loaded))
		} else {
			add(errorText, "Ollama      %s: does not answer", u.Name)
		}
	}
	add(plainText, "Keys        %d revoked (list %s), secrets %s", s.Revocations, s.RevocationsHash, s.SecretFingerprint)
	for _, r := range s.Reloads {
		if !r.OK {
			add(errorText, "            %s cannot be read again: the log says why", r.Source)
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
		add(faintText, "and %d newer ones", more)
	}
	show(modelTable(s))
	show(keyTable(s))
	return lines
}

// runningTable lists the requests in flight.
func runningTable(s status.Status) table.Table {
	t := table.Table{Columns: []table.Column{
		{Title: "KEY"}, {Title: "ID", Align: table.ID}, {Title: "MODEL", Drop: 2}, {Title: "ROUTE", Drop: 4}, {Title: "STATE", Drop: 5},
		{Title: "AGE", Align: table.Right}, {Title: "BYTES", Align: table.Right, Drop: 3}, {Title: "RATE", Align: table.Right, Drop: 1},
	}}
	for _, r := range s.Running {
		t.Add(labelOrDash(r.Key), whoseID(r.ID), r.Model, r.Route, r.State, formatDuration(seconds(r.Age)), formatBytes(float64(r.Bytes)), formatBytes(r.Rate)+"/s")
	}
	return t
}

// modelTable lists the models.
func modelTable(s status.Status) table.Table {
	t := table.Table{Columns: []table.Column{
		{Title: "MODEL"}, {Title: "READ", Align: table.Right, Drop: 1}, {Title: "WRITTEN", Align: table.Right}, {Title: "BYTES", Align: table.Right, Drop: 2},
	}}
	for _, m := range s.Models {
		t.Add(m.Model, fmt.Sprint(m.Prompt), fmt.Sprint(m.Completion), formatBytes(float64(m.Bytes)))
	}
	return t
}

// keyTable lists the keys.
func keyTable(s status.Status) table.Table {
	t := table.Table{Columns: []table.Column{
		{Title: "KEY"}, {Title: "ID", Align: table.ID}, {Title: "REQUESTS", Align: table.Right}, {Title: "TOKENS", Align: table.Right, Drop: 1}, {Title: "BYTES", Align: table.Right, Drop: 2},
	}}
	for _, k := range s.Keys {
		t.Add(labelOrDash(k.Key), whoseID(k.ID), fmt.Sprint(k.Requests), fmt.Sprint(k.Tokens), formatBytes(float64(k.Bytes)))
	}
	return t
}

// labelOrDash returns the label of a key, or a dash if it is empty.
func labelOrDash(label string) string { return cmp.Or(label, "-") }

// whoseID formats the id of a narrowed key, HEAD~OWN, as "OWN of HEAD": a column cuts the
// beginning off, and the holder of the key can choose OWN, but not HEAD.
func whoseID(id string) string {
	if head, own, narrowed := strings.Cut(id, "~"); narrowed {
		return own + " of " + head
	}
	return id
}

// refusals formats the number of refusals in the hour, with that of each reason, the most
// frequent first.
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
	return fmt.Sprintf("%d: %s", sum(h.Refused), strings.Join(reasons, ", "))
}

func joinOrNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

// sparkline draws the last width values as bars, followed by the greatest of them.
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

func sum(values []uint64) (sum uint64) {
	for _, v := range values {
		sum += v
	}
	return sum
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// approxDuration formats seconds that were estimated from a histogram.
func approxDuration(s float64) string { return "≈ " + formatDuration(seconds(s)) }

// formatDuration formats a duration in its two largest units.
func formatDuration(d time.Duration) string {
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

// formatBytes formats a number of bytes with a binary prefix.
func formatBytes(n float64) string {
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
