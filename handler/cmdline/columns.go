package cmdline

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/term"
)

// Columns is how many columns the terminal behind w has, or what COLUMNS says. If w is no
// terminal, and COLUMNS no number, it is 0.
func Columns(w io.Writer) int {
	if n, err := strconv.ParseUint(os.Getenv("COLUMNS"), 10, 16); err == nil {
		return int(n)
	}
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
	}
	return 0
}
