package top

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/status"
	"github.com/ollama-proxy/ollama-proxy/handler/table"
)

// TopOptions says what Top shows, and where.
type TopOptions struct {
	Address  string        // of a Server's private listener
	Interval time.Duration // between two looks
	Once     bool          // one look, and no more

	Out io.Writer
	In  io.Reader // where the keys q and Ctrl-C come from, if it is a terminal
}

// Top shows what goes through the Server whose private listener is at the address.
// On a terminal it redraws until q or Ctrl-C is pressed or the context ends, also
// while the Server does not answer. Otherwise it writes the same as plain lines,
// again and again, each time with an empty line after it.
//
// If nobody answers at first, or in plain lines ever, Top returns an error.
func Top(ctx context.Context, o TopOptions) error {
	s, err := status.Ask(ctx, o.Address)
	if err != nil {
		return unless(ctx, err)
	}
	out, ok := o.Out.(*os.File)
	if ok && isTerminal(out) && !o.Once && os.Getenv("TERM") != "dumb" {
		return topOnTerminal(ctx, o, out, s)
	}
	for {
		for _, l := range topLines(s, 0) {
			if _, err := fmt.Fprintln(o.Out, l.text); err != nil {
				return err
			}
		}
		if o.Once {
			return nil
		}
		fmt.Fprintln(o.Out)
		select {
		case <-time.After(o.Interval):
		case <-ctx.Done():
			return nil
		}
		if s, err = status.Ask(ctx, o.Address); err != nil {
			return unless(ctx, err)
		}
	}
}

// unless is the error, unless it came of the context's end.
func unless(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// topOnTerminal redraws. It leaves the terminal as it was.
func topOnTerminal(ctx context.Context, o TopOptions, out *os.File, s status.Status) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if in, ok := o.In.(*os.File); ok && isTerminal(in) {
		restore, err := listenForKeys(in, cancel)
		if err != nil {
			return err
		}
		defer restore()
	}
	screen := screen{out: bufio.NewWriter(out), file: out, color: os.Getenv("NO_COLOR") == ""}
	if err := screen.begin(); err != nil {
		return err
	}
	defer screen.end()
	ticker := time.NewTicker(o.Interval)
	defer ticker.Stop()
	heard, failure := time.Now(), error(nil)
	for {
		width, height := screen.size()
		lines := topLines(s, width)
		if failure != nil {
			lines[0] = line{table.Printable(fmt.Sprintf("No answer for %s: %v", inWords(time.Since(heard)), failure)), badText}
		}
		if err := screen.draw(lines, width, height); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		next, err := status.Ask(ctx, o.Address)
		if failure = err; err == nil {
			s, heard = next, time.Now()
		}
	}
}

// listenForKeys has stop called when q or Ctrl-C is pressed. Restore makes the terminal
// what it was.
func listenForKeys(in *os.File, stop func()) (restore func(), err error) {
	if restore, err = takeKeys(in); err != nil {
		return nil, err
	}
	go func() { // until the process ends: a read from a terminal cannot be called back
		defer stop()
		for b := make([]byte, 1); ; {
			if _, err := in.Read(b); err != nil || b[0] == 'q' || b[0] == 'Q' || b[0] == ctrlC || b[0] == ctrlD {
				return
			}
		}
	}()
	return restore, nil
}

const (
	ctrlC = 3
	ctrlD = 4
)
