package readme

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestAccessLog: the table of deploy/log.md has the fields of the access log, in their
// order, and no others.
func TestAccessLog(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var fields, rows []string
	for _, m := range regexp.MustCompile(`slog\.(?:String|Int|Int64|Duration)\("(\w+)"`).FindAllStringSubmatch(read("../../../handler/observe.go"), -1) {
		fields = append(fields, m[1])
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(read("../../log.md"), -1) {
		rows = append(rows, m[1])
	}
	if len(fields) < 10 || !slices.Equal(fields, rows) {
		t.Errorf("the log has %q, and the table %q", fields, rows)
	}
}
