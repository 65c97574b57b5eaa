package top

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// table is a table: rows of cells, laid out to fit.
type table struct {
	columns []column
	rows    [][]string
	more    string // what stands below
}

type column struct {
	title string
	side  side
	drop  int // where there is too little room, the highest goes first; 0 stays
}

// side is where in a column a cell stands, and so where it is cut: an id at its
// beginning, which is a time that many ids have in common.
type side int

const (
	leftSide side = iota
	rightSide
	idSide
)

const (
	// between is the room between two columns.
	between = 2

	// minName is how narrow a column of names may become before others go.
	minName = 8
)

func (t *table) add(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	t.rows = append(t.rows, cells)
}

// lines lays the sheet out in so many columns of a terminal; 0 means that there
// is no bound.
func (t table) lines(room int) []line {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		widths[i] = len(c.title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], widthOf(row[i]))
		}
	}
	if room > 0 {
		t.fit(widths, room)
	}
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.title
	}
	lines := []line{{t.row(titles, widths, room), headingText}}
	for _, row := range t.rows {
		lines = append(lines, line{t.row(row, widths, room), plainText})
	}
	if t.more != "" {
		lines = append(lines, line{cut(t.more, room), faintText})
	}
	return lines
}

// fit makes the names narrower until the row fits, and leaves out columns where
// that is not enough: their width becomes -1.
func (t table) fit(widths []int, room int) {
	for {
		sum, widest, first := -between, -1, -1
		for i, c := range t.columns {
			if widths[i] < 0 {
				continue
			}
			sum += widths[i] + between
			if c.side != rightSide && widths[i] > minName && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
			if c.drop > 0 && (first < 0 || c.drop > t.columns[first].drop) {
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

func (t table) row(cells []string, widths []int, room int) string {
	var b strings.Builder
	for i, c := range t.columns {
		if widths[i] < 0 {
			continue
		}
		text := cut(cells[i], widths[i])
		if c.side == idSide {
			text = cutStart(cells[i], widths[i])
		}
		pad := strings.Repeat(" ", max(0, widths[i]-widthOf(text)))
		if c.side == rightSide {
			b.WriteString(pad + text)
		} else {
			b.WriteString(text + pad)
		}
		b.WriteString(strings.Repeat(" ", between))
	}
	return cut(strings.TrimRight(b.String(), " "), room)
}

// printable replaces what could command a terminal, or turn text around: names
// are other people's.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// cut cuts printable text to so many columns of a terminal; 0 means that there is
// no bound.
func cut(text string, room int) string {
	if room <= 0 || widthOf(text) <= room {
		return text
	}
	n := 0
	for i, r := range text {
		if n += runeWidth(r); n >= room {
			return text[:i] + "…"
		}
	}
	return text
}

// cutStart does so, and keeps the end. There is a bound.
func cutStart(text string, room int) string {
	n := widthOf(text)
	if n <= room {
		return text
	}
	for i, r := range text {
		if n < room {
			return "…" + text[i:]
		}
		n -= runeWidth(r)
	}
	return "…"
}

func widthOf(text string) (n int) {
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

// runeWidth is how many columns of a terminal a character takes.
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
