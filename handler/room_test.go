package handler

import (
	"bytes"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// TestNoMoreGuestsThanRoom: the next one comes in when one has left, and not
// before; leaving twice makes no more room.
func TestNoMoreGuestsThanRoom(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	full := make(chan struct{}, 10)
	r := newRoom(l, 2, func() { full <- struct{}{} })
	in := make(chan net.Conn)
	over := make(chan error)
	go func() {
		for {
			c, err := r.Accept()
			if err != nil {
				over <- err
				return
			}
			in <- c
		}
	}()
	for range 5 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	waits := func() {
		t.Helper()
		select {
		case <-full:
		case <-in:
			t.Fatal("there is no room, and somebody came in")
		case <-time.After(10 * time.Second):
			t.Fatal("nobody waits")
		}
	}
	first, second := <-in, <-in
	waits()
	first.Close()
	first.Close()
	third := <-in
	waits()
	second.Close()
	fourth := <-in
	waits()
	r.Close()
	if err := <-over; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	r.Close()
	third.Close()
	fourth.Close()
}

func TestHowManyClients(t *testing.T) {
	for files, want := range map[uint64]int{0: 1, 20: 1, 32: 1, 64: 16, 1024: 496, 1 << 20: 1<<19 - 16, 1<<64 - 1: 1<<19 - 16} {
		if got := clientsFor(files); got != want {
			t.Errorf("%d open files are for %d clients, not %d", files, got, want)
		}
	}
	if n := openFiles(); n < 16 {
		t.Errorf("%d open files: there must be more", n)
	}
}

// TestErrorsOfTheServer: operators hear of what is theirs to mend, and not over
// and over.
func TestErrorsOfTheServer(t *testing.T) {
	var b bytes.Buffer
	l := log.New(&errorLog{log: slog.New(slog.NewTextHandler(&b, nil)), accepted: rate.Sometimes{Interval: time.Hour}}, "", 0)
	for range 3 {
		l.Print("http: TLS handshake error from 203.0.113.7:4711: EOF")
		l.Print("http: Accept error: accept tcp 127.0.0.1:8080: accept4: too many open files; retrying in 5ms")
	}
	l.Print("http: panic serving 203.0.113.7:4711: oops")
	said, _ := io.ReadAll(&b)
	if text := string(said); strings.Count(text, "\n") != 2 || !strings.Contains(text, "WARN") || !strings.Contains(text, "too many open files") || !strings.Contains(text, "ERROR") {
		t.Errorf("%s", text)
	}
}
