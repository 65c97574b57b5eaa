package table

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// Printable replaces characters that are not printable, since names are chosen by other
// people: they could contain escape sequences, or reverse the direction of text.
func Printable(text string) string {
	if isASCII(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// Truncate shortens printable text at its end to at most width columns of a terminal; 0
// means any length.
func Truncate(text string, width int) string {
	if width <= 0 || Width(text) <= width {
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
	n := Width(text)
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

// Width returns how many columns of a terminal a text takes.
func Width(text string) (n int) {
	if isASCII(text) {
		return len(text)
	}
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

// isASCII reports whether each character is a byte that can be printed, as in nearly all
// text: a table may have a hundred thousand rows.
func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
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
