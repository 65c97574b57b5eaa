package handler

import (
	"bytes"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// TestNoMoreClientsThanRoom: the next one comes in when one has left, and not
// before.
func TestNoMoreClientsThanRoom(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	full := make(chan struct{}, 10)
	r := newRoom(l, 2, func() { full <- struct{}{} })
	came := make(chan net.Conn, 10)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		ConnState: func(c net.Conn, s http.ConnState) {
			if s == http.StateNew {
				came <- c
			}
			r.look(c, s)
		},
	}
	over := make(chan error)
	go func() { over <- server.Serve(r) }()
	var clients []net.Conn
	for range 5 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	for n := range 3 {
		<-full
		if in := len(came); in != 2+n {
			t.Fatalf("%d have come in when %d have left", in, n)
		}
		clients[n].Close()
	}
	<-full
	server.Close()
	if err := <-over; err != http.ErrServerClosed {
		t.Errorf("%v", err)
	}
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
