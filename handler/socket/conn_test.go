package socket_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
)

// pair returns a TCP connection's accepted end, wrapped by this package or not, and its
// other end.
func pair(t *testing.T, wrap bool) (near net.Conn, far *net.TCPConn) {
	t.Helper()
	l := handlertest.Listen(t)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); accepted.Close() })
	near = accepted
	if wrap {
		near = socket.New(accepted)
	}
	return near, c.(*net.TCPConn)
}

// TestSocketBehavesLikePackageNet compares results and errors with those of a plain
// *net.TCPConn, for everything that can happen to a connection.
func TestSocketBehavesLikePackageNet(t *testing.T) {
	t.Parallel()
	past := time.Unix(1, 0)
	b := make([]byte, 10)
	for name, do := range map[string]func(near net.Conn, far *net.TCPConn) (int, error){
		"some bytes": func(near net.Conn, far *net.TCPConn) (int, error) {
			io.WriteString(far, "some")
			return near.Read(b)
		},
		"a read of no bytes":  func(near net.Conn, _ *net.TCPConn) (int, error) { return near.Read(nil) },
		"a write of no bytes": func(near net.Conn, _ *net.TCPConn) (int, error) { return near.Write(nil) },
		"the end": func(near net.Conn, far *net.TCPConn) (int, error) {
			far.CloseWrite()
			return near.Read(b)
		},
		"a reset": func(near net.Conn, far *net.TCPConn) (int, error) {
			far.SetLinger(0)
			far.Close()
			return near.Read(b)
		},
		"a write after a reset": func(near net.Conn, far *net.TCPConn) (int, error) {
			far.SetLinger(0)
			far.Close()
			near.Read(b)
			return near.Write(b)
		},
		"a read after its deadline": func(near net.Conn, _ *net.TCPConn) (int, error) {
			near.SetReadDeadline(past)
			return near.Read(b)
		},
		"a read whose deadline passes": func(near net.Conn, _ *net.TCPConn) (int, error) {
			go near.SetReadDeadline(past)
			return near.Read(b)
		},
		"a write after its deadline": func(near net.Conn, _ *net.TCPConn) (int, error) {
			near.SetWriteDeadline(past)
			return near.Write(b)
		},
		"a read from a closed connection": func(near net.Conn, _ *net.TCPConn) (int, error) {
			near.Close()
			return near.Read(b)
		},
		"a read during Close": func(near net.Conn, _ *net.TCPConn) (int, error) {
			go near.Close()
			return near.Read(b)
		},
		"a write to a closed connection": func(near net.Conn, _ *net.TCPConn) (int, error) {
			near.Close()
			return near.Write(b)
		},
	} {
		var results [2]string
		for i := range results {
			near, far := pair(t, i == 1)
			n, err := do(near, far)
			var op *net.OpError
			errors.As(err, &op)
			var timeout net.Error
			results[i] = fmt.Sprint(n, " bytes,", err == io.EOF, errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded),
				errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.As(err, &timeout) && timeout.Timeout())
			if op != nil {
				results[i] += fmt.Sprint(op.Op, op.Net, op.Err, op.Source != nil, op.Addr != nil)
			}
		}
		if results[0] != results[1] {
			t.Errorf("%s: %s; package net gives %s", name, results[1], results[0])
		}
	}
}

// TestSocketPassesAllBytes writes 15 MiB in both directions at once.
func TestSocketPassesAllBytes(t *testing.T) {
	t.Parallel()
	near, far := pair(t, true)
	whole := bytes.Repeat([]byte("0123456789abcde"), 1<<20)
	var all sync.WaitGroup
	for _, c := range []net.Conn{near, far} {
		all.Go(func() {
			if n, err := c.Write(whole); n != len(whole) || err != nil {
				t.Errorf("%d bytes written, %v", n, err)
			}
		})
		all.Go(func() {
			got := make([]byte, len(whole))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, whole) {
				t.Errorf("other bytes were read, or %v", err)
			}
		})
	}
	all.Wait()
}

// TestInterruptedWriteReportsBytesWritten lets a write deadline pass in the middle of a
// long write.
func TestInterruptedWriteReportsBytesWritten(t *testing.T) {
	t.Parallel()
	near, far := pair(t, true)
	whole := make([]byte, 64<<20) // more than the kernel buffers
	go func() {
		io.ReadFull(far, make([]byte, 1000))
		near.SetWriteDeadline(time.Unix(1, 0))
	}()
	n, err := near.Write(whole)
	if n < 1000 || n >= len(whole) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
}
