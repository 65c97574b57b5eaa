package keyinfo

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Words says in plain words what the key may do, one line a fact.
func (i Info) Words() []string {
	lines := []string{"id: " + i.Name()}
	if i.Label != "" {
		lines = append(lines, "label: "+i.Label)
	}
	lines = append(lines, "minted: "+moment(i.Minted, "its id does not say when"), "until: "+moment(i.Expires, "it does not expire"))
	routes := "none"
	if len(i.Routes) > 0 {
		routes = strings.Join(i.Routes, ", ")
	}
	lines = append(lines, "routes: "+routes)
	for _, list := range i.Models {
		lines = append(lines, "only models: "+strings.Join(list, ", "))
	}
	for _, list := range i.From {
		lines = append(lines, "only from: "+strings.Join(list, ", "))
	}
	for _, l := range i.Limits {
		lines = append(lines, l.words())
	}
	for n, line := range lines {
		lines[n] = printable(line)
	}
	return lines
}

func (l Limit) words() string {
	what := l.Kind
	switch l.Kind {
	case "rpm":
		what = "requests a minute"
	case "streams":
		what = "requests at once"
	}
	text := fmt.Sprintf("at most: %d %s on each replica, %d left on this one", l.Limit, what, l.Remaining)
	if l.ResetSeconds > 0 && l.ResetSeconds < 1e9 {
		text += ", all again in " + time.Duration(l.ResetSeconds*float64(time.Second)).Round(time.Second/10).String()
	}
	if l.Default {
		text += " (for all keys that were minted without such a limit, and all made from one of them together)"
	}
	return text
}

func moment(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return t.UTC().Format(time.RFC3339)
}

// printable replaces what could command a terminal, or turn text around: the words are a
// remote's.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
