//go:build unix

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// slowHead sends half of a request's head, and no more.
func slowHead() (net.Conn, time.Time) {
	c, err := net.Dial("tcp", front)
	kit.Must(err, "HAProxy")
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: slow\r\n")
	kit.Must(err, "half a head")
	return c, time.Now()
}

func checkSlowHead(c net.Conn, began time.Time) {
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(kit.Timeout))
	head, _ := bufio.NewReader(c).ReadString('\n')
	took := time.Since(began)
	if !strings.Contains(head, " 408 ") || took > 2*kit.Timeout {
		kit.Fatal("half a head got %q after %v", head, took)
	}
	kit.Pass("half a head gets 408 instead of a place")
}

// checkHealth: HAProxy without replicas is not healthy.
func checkHealth() {
	get := func() int { code, _ := kit.Fetch("http://" + health + "/"); return code }
	if got := get(); got != http.StatusOK {
		kit.Fatal("HAProxy with replicas says %d", got)
	}
	for _, r := range replicas {
		r.Kill()
	}
	kit.Await("HAProxy to be unhealthy", func() bool { return get() == http.StatusServiceUnavailable })
	kit.Pass("HAProxy is healthy as long as a replica is")
}
