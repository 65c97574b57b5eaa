package table

import (
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// Printable replaces what could command a terminal, or turn text around: names
// are other people's.
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

// Cut cuts printable text to so many columns of a terminal; 0 means that there is
// no bound.
func Cut(text string, room int) string {
	if room <= 0 || Width(text) <= room {
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
	n := Width(text)
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

// Width is how many columns of a terminal a text takes.
func Width(text string) (n int) {
	if isASCII(text) {
		return len(text)
	}
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

// isASCII tells text of which each character is a byte that can be printed, as nearly
// all is: a table may have a hundred thousand rows.
func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
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
