package top_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/top"
)

// terminal opens a pseudo-terminal. What is written to keys is typed on tty, and what is
// written to tty can be read from keys.
func terminal(t *testing.T, columns, rows uint16) (keys, tty *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	fd := int(keys.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows})
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return keys, tty
}

// TestTerminal: the screen is redrawn also while the replica does not answer, and the
// terminal is restored in the end.
func TestTerminal(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"q", "\x03"} {
		s := handlertest.Start(t, handlertest.Config{Server: handlertest.WithStatus})
		keys, tty := terminal(t, 60, 10)
		var screen handlertest.SyncBuffer
		shown := make(chan struct{})
		go func() { defer close(shown); io.Copy(&screen, keys) }()
		before, err := term.GetState(int(tty.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		over := make(chan error)
		go func() {
			over <- top.Run(t.Context(), top.Options{Address: s.Private, Interval: time.Millisecond, Out: tty, In: tty})
		}()
		until := func(text string) {
			t.Helper()
			for all, grown := screen.Text(); !strings.Contains(all, text); all, grown = screen.Text() {
				handlertest.Await(t, grown, text)
				if t.Failed() {
					t.Fatalf("%q", all)
				}
			}
		}
		until("ollama-proxy v1.2.3")
		s.Stop()
		handlertest.Await(t, s.Served, "Serve to return")
		until("No answer for") // the error is shown, and Run goes on
		fmt.Fprint(keys, key)
		if err := handlertest.Await(t, over, "Top to end"); err != nil {
			t.Error(err)
		}
		if after, err := term.GetState(int(tty.Fd())); err != nil || *after != *before {
			t.Errorf("the terminal's mode is not restored: %v", err)
		}
		tty.Close() // ends the reading of keys
		handlertest.Await(t, shown, "the end of what is shown")
		all, _ := screen.Text()
		first, last := strings.Index(all, "\x1b[?1049h"), strings.LastIndex(all, "\x1b[?1049l")
		if first != 0 || last < 0 || strings.LastIndex(all, "\x1b[?25h") < strings.LastIndex(all, "\x1b[?25l") || strings.LastIndex(all, "\x1b[?7h") < strings.LastIndex(all, "\x1b[?7l") {
			t.Errorf("the screen is not restored: %q … %q", all[:20], all[max(0, len(all)-20):])
		}
		if frame := bytes.Count([]byte(all[:strings.Index(all[20:], "\x1b[H")+20]), []byte("\n")); frame > 10 {
			t.Errorf("%d lines for a terminal of 10", frame)
		}
	}
}
