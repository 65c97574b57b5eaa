// Package readme holds README.md to the code: its table of routes and its list of
// metrics are what a running proxy shows.
package readme

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// section returns what stands under a heading of README.md.
func section(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text2, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("README.md has no section %q", heading)
	}
	found, _, _ := strings.Cut(text2, "\n## ")
	return found
}

var code = regexp.MustCompile("`([^`]+)`")

// quoted returns what stands between backquotes.
func quoted(text string) (all []string) {
	for _, m := range code.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}
