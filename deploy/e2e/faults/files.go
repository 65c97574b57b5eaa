//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	openFiles   = 64
	idleClients = 4 * openFiles
)

// checkOpenFiles has clients without a key open more connections than the process may have
// files. Connections with a key are still served, and new ones are as soon as the others
// have left.
func checkOpenFiles() {
	list := filepath.Join(kit.Dir, "files.list")
	kit.WriteFile(list, "")
	p := launch("files", withLimit(fmt.Sprint("-n ", openFiles)), "--revocations", list)
	key, victim := p.mint(), p.mint()
	p.expectStatus(key, http.StatusOK, "before any stranger")
	client.CloseIdleConnections()
	// These connections have carried a key, so they are not evicted for the others.
	var guests []net.Conn
	for range 8 {
		c, err := net.Dial("tcp", p.Address)
		kit.Must(err, "a client")
		guests = append(guests, c)
		ask(c, key, http.StatusOK)
	}
	var crowd []net.Conn
	for range idleClients {
		c, err := net.DialTimeout("tcp", p.Address, time.Second)
		kit.Must(err, "a stranger's connection")
		crowd = append(crowd, c)
	}
	kit.Await("the log to report the connection limit", func() bool { return strings.Contains(p.Logged(), "connection limit reached") })
	from, spent := time.Now(), p.CPU()
	for _, c := range guests {
		ask(c, key, http.StatusOK)
	}
	ask(guests[0], victim, http.StatusOK)
	kit.Command("revoke", "--revocations", list, victim)
	kit.Await("a revocation amid the crowd", func() bool { return p.Metric("ollama_proxy_revocations") == 1 })
	ask(guests[0], victim, http.StatusUnauthorized)
	if status, _, err := get("http://"+p.Metrics+"/readyz", ""); err != nil || status != http.StatusOK {
		kit.Fatal("amid a crowd of strangers /readyz gives status %d, %v", status, err)
	}
	time.Sleep(2 * time.Second) // the span over which the processor time is measured
	used, open := p.CPU()-spent, p.Metric("process_open_fds")
	p.expectMetric("process_max_fds", openFiles)
	p.expectMetric(`ollama_proxy_refusals_total{reason="revoked"}`, 1)
	p.expectMetric(`ollama_proxy_reload_success{source="revocations"}`, 1)
	p.expectMetric(`ollama_proxy_requests_total{code="200",method="GET",route="/api/version"}`, 1+8+8+1)
	p.expectLog(0, 1, "level=INFO msg=request", "status=401", "outcome=refused reason=revoked")
	p.expectLog(0, 1, `level=WARN msg="connection limit reached: closing connections not in use for new ones"`, "connections=")
	p.expectLog(0, 0, "level=ERROR")
	if took := time.Since(from); used > took/4 {
		kit.Fatal("amid a crowd of strangers it takes %s of %s on the processor", kit.Seconds(used), kit.Seconds(took))
	}
	for _, c := range crowd {
		c.Close()
	}
	p.expectStatus(key, http.StatusOK, "after the crowd has left")
	for _, c := range guests {
		ask(c, key, http.StatusOK)
		c.Close()
	}
	p.Stop()
	log := p.Logged()
	if n := strings.Count(log, "level=WARN"); n != 1 || strings.Contains(log, "too many open files") {
		kit.Fatal("%d strangers make %d warnings:\n%s", idleClients, n, log)
	}
	kit.Pass("%d strangers, where the process may have %d files: clients within are served, a revocation counts, /readyz answers, %.0f files open, %s on the processor, one line in the log",
		idleClients, openFiles, open, kit.Seconds(used))
}

// ask sends a request on the connection, and expects the status.
func ask(c net.Conn, key string, want int) {
	c.SetDeadline(time.Now().Add(kit.Timeout))
	fmt.Fprintf(c, "GET /api/version HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer %s\r\n\r\n", key)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != want {
		kit.Fatal("a client amid a crowd of strangers: %+v, %v", res, err)
	}
	_, err = io.Copy(io.Discard, res.Body)
	kit.Must(err, "a client amid a crowd of strangers")
}
