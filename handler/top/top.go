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

// Options configure [Run].
type Options struct {
	Address  string        // of the replica's private listener: a host and a port
	Interval time.Duration // between two requests for the status; more than 0 unless Once
	Once     bool          // write the status once, as plain lines, and return

	Out io.Writer
	In  io.Reader // if it is a terminal, the keys q and Ctrl-C quit
}

// Run displays the status of a replica. If Out is a terminal, Run redraws it until q or
// Ctrl-C is pressed or the context ends, also while the replica does not answer. If not,
// or with Once, it writes plain lines, at each interval, followed by an empty line.
//
// If the replica does not answer the first request, or any request in plain lines, Run
// returns an error. It returns nil when the context ends.
func Run(ctx context.Context, o Options) error {
	s, err := status.Ask(ctx, o.Address)
	if err != nil {
		return unlessDone(ctx, err)
	}
	out, ok := o.Out.(*os.File)
	if ok && isTerminal(out) && !o.Once && os.Getenv("TERM") != "dumb" {
		return runOnTerminal(ctx, o, out, s)
	}
	for {
		for _, l := range statusLines(s, 0) {
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
			return unlessDone(ctx, err)
		}
	}
}

// unlessDone returns the error, or nil if the context has ended: that is its cause.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// runOnTerminal redraws the status until it is to stop, and then restores the terminal.
func runOnTerminal(ctx context.Context, o Options, out *os.File, s status.Status) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if in, ok := o.In.(*os.File); ok && isTerminal(in) {
		restore, err := stopOnKey(in, cancel)
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
	lastAnswer, failure := time.Now(), error(nil)
	for {
		width, height := screen.size()
		lines := statusLines(s, width)
		if failure != nil {
			lines[0] = line{table.Printable(fmt.Sprintf("No answer for %s: %v", formatDuration(time.Since(lastAnswer)), failure)), errorText}
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
			s, lastAnswer = next, time.Now()
		}
	}
}

// stopOnKey calls stop when q or Ctrl-C is pressed. Restore restores the terminal's mode.
func stopOnKey(in *os.File, stop func()) (restore func(), err error) {
	if restore, err = makeRaw(in); err != nil {
		return nil, err
	}
	go func() { // it may run until the process ends: a read from a terminal cannot be cancelled
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
