package handlertest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// Scripted starts an Ollama whose answers the test writes byte by byte, and returns its
// address. For each request it reads the body, calls script, and then closes the connection.
func Scripted(t *testing.T, script func(c *net.TCPConn, r *http.Request)) string {
	t.Helper()
	l := Listen(t)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				if IsProbe(r) {
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
					return
				}
				io.Copy(io.Discard, r.Body)
				script(c.(*net.TCPConn), r)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String()
}
