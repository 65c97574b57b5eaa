package top

import (
	"bufio"
	"os"

	"golang.org/x/term"

	"github.com/ollama-proxy/ollama-proxy/handler/table"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// takeKeys has the terminal hand over each key as it is pressed, until restore
// is called.
func takeKeys(in *os.File) (restore func(), err error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	return func() { term.Restore(int(in.Fd()), before) }, nil
}

// screen is a terminal that is drawn upon as a whole.
type screen struct {
	out   *bufio.Writer
	file  *os.File
	color bool
}

// begin takes the terminal's other screen, without a cursor, where long lines do
// not run on.
func (s *screen) begin() error {
	if err := takeCommands(s.file); err != nil {
		return err
	}
	s.out.WriteString("\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J")
	return s.out.Flush()
}

// end gives back the screen that was there before.
func (s *screen) end() {
	s.out.WriteString("\x1b[?7h\x1b[?25h\x1b[?1049l")
	s.out.Flush()
}

// size is what the terminal says, or that of the first ones.
func (s *screen) size() (width, height int) {
	width, height, err := term.GetSize(int(s.file.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// draw shows as many of the lines as there is room for.
func (s *screen) draw(lines []line, width, height int) error {
	s.out.WriteString("\x1b[H")
	for i, l := range lines[:min(len(lines), height)] {
		if i > 0 {
			s.out.WriteString("\r\n")
		}
		text := table.Cut(l.text, width)
		if s.color && l.style != plainText {
			text = string(l.style) + text + "\x1b[0m"
		}
		s.out.WriteString("\x1b[K" + text) // in this order: a full line leaves the cursor on its last character
	}
	if len(lines) < height {
		s.out.WriteString("\r\n\x1b[J")
	}
	return s.out.Flush()
}
