package top

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// table is a table of text that is laid out to fit the width of a terminal.
type table struct {
	columns []column
	rows    [][]string
	more    string // a line below the rows, or ""
}

// column describes a column of a table.
type column struct {
	title string
	align alignment
	drop  int // columns that do not fit are left out, the highest drop first; 0: never
}

// alignment says how a cell is aligned, and where it is truncated: an id at its
// beginning, since the first characters of an id are a time, which many ids share.
type alignment int

const (
	alignLeft alignment = iota
	alignRight
	alignID
)

const (
	// columnGap is the number of spaces between two columns.
	columnGap = 2

	// minNameWidth is the width to which columns of names are narrowed before other
	// columns are left out.
	minNameWidth = 8
)

// add adds a row, and makes its cells printable.
func (t *table) add(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	t.rows = append(t.rows, cells)
}

// lines formats the table in lines of at most width columns; 0 means any length.
func (t table) lines(width int) []line {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = len(c.title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], widthOf(row[i]))
		}
	}
	if width > 0 {
		t.fit(widths, width)
	}
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.title
	}
	lines := []line{{t.row(titles, widths, width), headingText}}
	for _, row := range t.rows {
		lines = append(lines, line{t.row(row, widths, width), plainText})
	}
	if t.more != "" {
		lines = append(lines, line{truncate(t.more, width), faintText})
	}
	return lines
}

// fit narrows the columns of names until a row fits into width. If that is not enough, it
// leaves out columns, by setting their widths to -1.
func (t table) fit(widths []int, width int) {
	for {
		sum, widest, first := -columnGap, -1, -1
		for i, c := range t.columns {
			if widths[i] < 0 {
				continue
			}
			sum += widths[i] + columnGap
			if c.align != alignRight && widths[i] > minNameWidth && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
			if c.drop > 0 && (first < 0 || c.drop > t.columns[first].drop) {
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
func (t table) row(cells []string, widths []int, width int) string {
	var b strings.Builder
	for i, c := range t.columns {
		if widths[i] < 0 {
			continue
		}
		text := truncate(cells[i], widths[i])
		if c.align == alignID {
			text = truncateStart(cells[i], widths[i])
		}
		pad := strings.Repeat(" ", max(0, widths[i]-widthOf(text)))
		if c.align == alignRight {
			b.WriteString(pad + text)
		} else {
			b.WriteString(text + pad)
		}
		b.WriteString(strings.Repeat(" ", columnGap))
	}
	return truncate(strings.TrimRight(b.String(), " "), width)
}

// printable replaces characters that are not printable, since names are chosen by other
// people: they could contain escape sequences, or reverse the direction of text.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// truncate shortens printable text at its end to at most width columns of a terminal; 0
// means any length.
func truncate(text string, width int) string {
	if width <= 0 || widthOf(text) <= width {
		return text
	}
	n := 0
	for i, r := range text {
		if n += runeWidth(r); n >= width {
			return text[:i] + "…"
		}
	}
	return text
}

// truncateStart shortens printable text at its beginning to at most width columns.
func truncateStart(text string, width int) string {
	n := widthOf(text)
	if n <= width {
		return text
	}
	for i, r := range text {
		if n < width {
			return "…" + text[i:]
		}
		n -= runeWidth(r)
	}
	return "…"
}

// widthOf returns how many columns of a terminal a text takes.
func widthOf(text string) (n int) {
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

// runeWidth returns how many columns of a terminal a character takes.
func runeWidth(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}
