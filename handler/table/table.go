package table

import "strings"

// Table is rows of cells under titles. Rows are added by Add and laid out by Lines.
type Table struct {
	Columns []Column
	Rows    [][]string
}

// Column is how the cells of a column look.
type Column struct {
	Title string
	Side  Side
	Drop  int // where there is too little room, the highest goes first; 0 stays
}

// Side is where in its column a cell stands, and where it is cut if it is too long.
type Side int

const (
	Left  Side = iota // a name: cut at its end
	Right             // a number: never cut
	ID                // cut at its beginning, which is a time that many ids have in common
	Whole             // text at the left that is never cut
)

const (
	// columnGap is the room between two columns.
	columnGap = 2

	// minName is how narrow a column of names may become before others go.
	minName = 8
)

// Add adds a row, which has a cell for each column. Cells become [Printable].
func (t *Table) Add(cells ...string) {
	for i, c := range cells {
		cells[i] = Printable(c)
	}
	t.Rows = append(t.Rows, cells)
}

// Lines lays the table out in so many columns of a terminal; 0 means that there is no
// bound. The first line is that of the titles. A line is cut if it is too long even
// when all that may be narrower, or left out, is.
func (t *Table) Lines(room int) []string {
	widths := make([]int, len(t.Columns))
	titles := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		titles[i], widths[i] = c.Title, len(c.Title)
		for _, row := range t.Rows {
			widths[i] = max(widths[i], Width(row[i]))
		}
	}
	if room > 0 {
		t.fit(widths, room)
	}
	lines := []string{t.row(titles, widths, room)}
	for _, row := range t.Rows {
		lines = append(lines, t.row(row, widths, room))
	}
	return lines
}

// fit makes the names narrower until the row fits, and leaves out columns where
// that is not enough: their width becomes -1.
func (t *Table) fit(widths []int, room int) {
	for {
		sum, widest, first := -columnGap, -1, -1
		for i, c := range t.Columns {
			if widths[i] < 0 {
				continue
			}
			sum += widths[i] + columnGap
			if (c.Side == Left || c.Side == ID) && widths[i] > minName && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
			if c.Drop > 0 && (first < 0 || c.Drop > t.Columns[first].Drop) {
				first = i
			}
		}
		switch {
		case sum <= room:
			return
		case widest >= 0:
			widths[widest]--
		case first >= 0:
			widths[first] = -1
		default:
			return // the line is cut
		}
	}
}

func (t *Table) row(cells []string, widths []int, room int) string {
	var b strings.Builder
	gap := 0 // before the next text: there is none at the end of a line
	for i, c := range t.Columns {
		if widths[i] < 0 {
			continue
		}
		text := cells[i]
		if c.Side == ID {
			text = cutStart(text, widths[i])
		} else {
			text = Cut(text, widths[i])
		}
		pad := max(0, widths[i]-Width(text))
		if c.Side == Right {
			gap, pad = gap+pad, 0
		}
		if text != "" {
			for ; gap > 0; gap-- {
				b.WriteByte(' ')
			}
			b.WriteString(text)
		}
		gap += pad + columnGap
	}
	return Cut(strings.TrimRight(b.String(), " "), room)
}
