package top

import (
	"bufio"
	"os"

	"golang.org/x/term"

	"github.com/ollama-proxy/ollama-proxy/handler/table"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// makeRaw puts the terminal into raw mode, in which each key can be read as it is
// pressed, until restore is called.
func makeRaw(in *os.File) (restore func(), err error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	return func() { term.Restore(int(in.Fd()), before) }, nil
}

// screen is a terminal in full-screen mode.
type screen struct {
	out   *bufio.Writer
	file  *os.File
	color bool
}

// begin switches to the terminal's alternate screen, and switches off the cursor and the
// wrapping of long lines.
func (s *screen) begin() error {
	if err := enableEscapes(s.file); err != nil {
		return err
	}
	s.out.WriteString("\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J")
	return s.out.Flush()
}

// end switches back to the main screen.
func (s *screen) end() {
	s.out.WriteString("\x1b[?7h\x1b[?25h\x1b[?1049l")
	s.out.Flush()
}

// size returns the size of the terminal, or 80 columns and 24 lines if it is not known.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.file.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// draw shows as many of the lines as fit.
func (s *screen) draw(lines []line, width, height int) error {
	s.out.WriteString("\x1b[H")
	for i, l := range lines[:min(len(lines), height)] {
		if i > 0 {
			s.out.WriteString("\r\n")
		}
		text := table.Truncate(l.text, width)
		if s.color && l.style != plainText {
			text = string(l.style) + text + "\x1b[0m"
		}
		s.out.WriteString("\x1b[K" + text) // clearing comes first: after a full line the cursor is on its last character
	}
	if len(lines) < height {
		s.out.WriteString("\r\n\x1b[J")
	}
	return s.out.Flush()
}
