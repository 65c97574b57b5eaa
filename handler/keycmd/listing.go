package keycmd

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/table"
)

const (
	// wide is the least number of columns in which a line has room for all that there
	// is to say of a key.
	wide = 110

	// narrow is the least in which a line has room for a label, a whole id, and when
	// the key ends. With fewer, a key takes several lines.
	narrow = 72
)

// listing is how keys are shown to people.
type listing struct {
	rows     []row
	columns  int  // of the terminal; 0: no bound
	requests bool // whether the proxy counts them
}

// printListing prints a table or, where that has no room, a few lines for each key. Ids
// are never cut: they are what revokes a key.
func printListing(w io.Writer, l listing) error {
	var lines []string
	switch {
	case len(l.rows) == 0:
	case l.columns > 0 && l.columns < narrow:
		lines = l.blocks()
	default:
		lines = l.table()
	}
	for _, line := range lines {
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func (l listing) table() []string {
	full := l.columns == 0 || l.columns >= wide
	t := table.Table{Columns: []table.Column{{Title: "LABEL"}, {Title: "ID", Align: table.Whole}}}
	if full {
		t.Columns = append(t.Columns, table.Column{Title: "MINTED", Align: table.Whole})
	}
	t.Columns = append(t.Columns, table.Column{Title: "EXPIRES", Align: table.Whole}, table.Column{Title: "STATE", Align: table.Whole})
	if l.requests && full {
		t.Columns = append(t.Columns, table.Column{Title: "REQUESTS", Align: table.Right})
	}
	t.Columns = append(t.Columns, table.Column{Title: "LIMITS"})
	for i := range l.rows {
		r := &l.rows[i]
		cells := []string{cmp.Or(r.Label, "-"), r.ID}
		if full {
			cells = append(cells, r.At.Format(time.DateOnly))
		}
		cells = append(cells, day(r.expires), r.state)
		if l.requests && full {
			cells = append(cells, number(r.requests))
		}
		t.Add(append(cells, cmp.Or(r.limits(), "-"))...)
	}
	return t.Lines(l.columns)
}

// blocks gives each key some lines of its own, none wider than the terminal, but for
// ids in one that is very narrow.
func (l listing) blocks() (lines []string) {
	for i := range l.rows {
		r := &l.rows[i]
		facts := []string{"minted " + r.At.Format(time.DateOnly), "expires " + day(r.expires), r.state}
		if l.requests && r.requests >= 0 {
			facts = append(facts, count(int(r.requests), "request", "requests"))
		}
		lines = append(lines, table.Truncate(table.Printable(cmp.Or(r.Label, "-")), l.columns), "  "+r.ID)
		lines = append(lines, wrap(facts, ", ", l.columns)...)
		lines = append(lines, wrap(strings.Fields(table.Printable(r.limits())), " ", l.columns)...)
	}
	return lines
}

// wrap puts as many words on a line as there is room for, and cuts those that have too
// little on a line of their own.
func wrap(words []string, gap string, columns int) (lines []string) {
	const indent = "  "
	line := ""
	for _, word := range words {
		word = table.Truncate(word, columns-len(indent)-len(strings.TrimSpace(gap)))
		switch {
		case line == "":
			line = indent + word
		case table.Width(line+gap+word+strings.TrimSpace(gap)) > columns:
			lines = append(lines, line+strings.TrimRight(gap, " "))
			line = indent + word
		default:
			line += gap + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// day is when a key expires: near enough for a table.
func day(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.DateOnly)
}

func number(n int64) string {
	if n < 0 {
		return ""
	}
	return fmt.Sprint(n)
}
