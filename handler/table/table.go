package table

import "strings"

// Table is a table of text that is laid out to fit the width of a terminal: rows are
// added by Add, and formatted by Lines.
type Table struct {
	Columns []Column
	Rows    [][]string
}

// Column describes a column of a table.
type Column struct {
	Title string
	Align Alignment
	Drop  int // columns that do not fit are left out, the highest Drop first; 0: never
}

// Alignment says how a cell is aligned, and where it is truncated.
type Alignment int

const (
	Left  Alignment = iota // a name: truncated at its end
	Right                  // a number: never truncated
	ID                     // truncated at its beginning: the first characters of an id are a time, which many ids share
	Whole                  // text at the left that is never truncated
)

const (
	// columnGap is the number of spaces between two columns.
	columnGap = 2

	// minNameWidth is the width to which columns of names are narrowed before other
	// columns are left out.
	minNameWidth = 8
)

// Add adds a row, which has a cell for each column, and makes its cells [Printable].
func (t *Table) Add(cells ...string) {
	for i, c := range cells {
		cells[i] = Printable(c)
	}
	t.Rows = append(t.Rows, cells)
}

// Lines formats the table in lines of at most width columns of a terminal; 0 means any
// length. The first line has the titles. A line is truncated if it is too long even when
// all columns that may be narrower, or left out, are.
func (t *Table) Lines(width int) []string {
	widths := make([]int, len(t.Columns))
	titles := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		titles[i], widths[i] = c.Title, len(c.Title)
		for _, row := range t.Rows {
			widths[i] = max(widths[i], Width(row[i]))
		}
	}
	if width > 0 {
		t.fit(widths, width)
	}
	lines := []string{t.row(titles, widths, width)}
	for _, row := range t.Rows {
		lines = append(lines, t.row(row, widths, width))
	}
	return lines
}

// fit narrows the columns of names until a row fits into width. If that is not enough, it
// leaves out columns, by setting their widths to -1.
func (t *Table) fit(widths []int, width int) {
	for {
		sum, widest, first := -columnGap, -1, -1
		for i, c := range t.Columns {
			if widths[i] < 0 {
				continue
			}
			sum += widths[i] + columnGap
			if (c.Align == Left || c.Align == ID) && widths[i] > minNameWidth && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
			if c.Drop > 0 && (first < 0 || c.Drop > t.Columns[first].Drop) {
				first = i
			}
		}
		switch {
		case sum <= width:
			return
		case widest >= 0:
			widths[widest]--
		case first >= 0:
			widths[first] = -1
		default:
			return // row truncates the line
		}
	}
}

// row formats a row.
func (t *Table) row(cells []string, widths []int, width int) string {
	var b strings.Builder
	gap := 0 // before the next text: there is none at the end of a line
	for i, c := range t.Columns {
		if widths[i] < 0 {
			continue
		}
		text := cells[i]
		if c.Align == ID {
			text = truncateStart(text, widths[i])
		} else {
			text = Truncate(text, widths[i])
		}
		pad := max(0, widths[i]-Width(text))
		if c.Align == Right {
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
	return Truncate(strings.TrimRight(b.String(), " "), width)
}
