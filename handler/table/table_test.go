package table

import (
	"fmt"
	"strings"
	"testing"
)

// However little room there is, no line is wider, and what is never cut is whole for as
// long as the line has room for it.
func TestATableFits(t *testing.T) {
	table := Table{Columns: []Column{{Title: "NAME"}, {Title: "ID", Align: ID}, {Title: "CODE", Align: Whole}, {Title: "N", Align: Right, Drop: 1}, {Title: "NOTE", Drop: 2}}}
	for i := range 20 {
		table.Add(strings.Repeat("長い name ", i), fmt.Sprintf("0199c3a1-8f60-%08d", i), "code-12", fmt.Sprint(i*i*i), strings.Repeat("note\x1b ", i%4))
	}
	for room := 1; room < 200; room++ {
		lines := table.Lines(room)
		if len(lines) != 21 {
			t.Fatalf("in %d columns: %d lines", room, len(lines))
		}
		for i, line := range lines {
			if Width(line) > room || strings.Contains(line, "\x1b") || strings.HasSuffix(line, " ") {
				t.Fatalf("in %d columns line %d takes %d: %q", room, i, Width(line), line)
			}
			if id := fmt.Sprintf("%04d", i-1); i > 0 && room > 30 && (!strings.Contains(line, "code-12") || !strings.Contains(line, id)) {
				t.Fatalf("in %d columns the id or the code is cut: %q", room, line)
			}
		}
		if dropped := !strings.Contains(lines[0], "NOTE"); dropped && strings.Contains(lines[0], " N ") && room > 40 {
			t.Fatalf("in %d columns: %q", room, lines[0])
		}
	}
	for i, line := range table.Lines(0) {
		if strings.Contains(line, "…") || i > 0 && !strings.Contains(line, fmt.Sprintf("0199c3a1-8f60-%08d", i-1)) {
			t.Errorf("without a bound: %q", line)
		}
	}
}

// A number stands at the right of its column, so that numbers compare at a glance.
func TestNumbersStandAtTheRight(t *testing.T) {
	table := Table{Columns: []Column{{Title: "N", Align: Right}, {Title: "X"}}}
	table.Add("7", "a")
	table.Add("1234", "")
	table.Add("", "b")
	if got := strings.Join(table.Lines(0), "|"); got != "   N  X|   7  a|1234|      b" {
		t.Errorf("%q", got)
	}
}
