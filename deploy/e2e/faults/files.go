//go:build ignore

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
)

const (
	openFiles = 64
	strangers = 4 * openFiles
)

// checkOpenFiles: strangers who only open connections, more than the process may
// have files, keep those who are in from nothing, and the others only while they
// are there.
func checkOpenFiles() {
	list := filepath.Join(dir, "files.list")
	write(list, "")
	p := launch("files", within(fmt.Sprint("-n ", openFiles)), "--revocations", list)
	key, victim := p.mint(), p.mint()
	p.allows(key, http.StatusOK, "before any stranger")
	client.CloseIdleConnections()
	// Those who are in: their connections outlive what follows.
	var guests []net.Conn
	for range 8 {
		c, err := net.Dial("tcp", p.address)
		must(err, "a client")
		guests = append(guests, c)
		ask(c, key, http.StatusOK)
	}
	var crowd []net.Conn
	for range strangers {
		c, err := net.DialTimeout("tcp", p.address, time.Second)
		must(err, "a stranger's connection")
		crowd = append(crowd, c)
	}
	await("the log to tell of the crowd", func() bool { return strings.Contains(p.said(), "as many connections as there may be") })
	from, spent := time.Now(), p.cpu()
	for _, c := range guests {
		ask(c, key, http.StatusOK)
	}
	ask(guests[0], victim, http.StatusOK)
	command("revoke", "--revocations", list, victim)
	await("a revocation amid the crowd", func() bool { return p.metric("ollama_proxy_revocations") == 1 })
	ask(guests[0], victim, http.StatusUnauthorized)
	if status, _, err := get("http://"+p.metrics+"/readyz", ""); err != nil || status != http.StatusOK {
		fatal("amid a crowd of strangers /readyz gives status %d, %v", status, err)
	}
	time.Sleep(2 * time.Second)
	used, open := p.cpu()-spent, p.metric("process_open_fds")
	p.counts("process_max_fds", openFiles)
	p.counts(`ollama_proxy_refusals_total{reason="revoked"}`, 1)
	p.counts(`ollama_proxy_reload_success{source="revocations"}`, 1)
	p.counts(`ollama_proxy_requests_total{code="200",method="GET",route="/api/version"}`, 1+8+8+1)
	p.tells(0, 1, "level=INFO msg=request", "status=401", "outcome=refused reason=revoked")
	p.tells(0, 1, `level=WARN msg="as many connections as there may be: those not in use make way"`, "connections=")
	p.tells(0, 0, "level=ERROR")
	if took := time.Since(from); used > took/4 {
		fatal("amid a crowd of strangers it takes %s of %s on the processor", seconds(used), seconds(took))
	}
	for _, c := range crowd {
		c.Close()
	}
	p.allows(key, http.StatusOK, "after the crowd has left")
	for _, c := range guests {
		ask(c, key, http.StatusOK)
		c.Close()
	}
	p.stop()
	log := p.said()
	if n := strings.Count(log, "level=WARN"); n != 1 || strings.Contains(log, "too many open files") {
		fatal("%d strangers make %d warnings:\n%s", strangers, n, log)
	}
	pass("%d strangers, where the process may have %d files: clients within are served, a revocation counts, /readyz answers, %.0f files open, %s on the processor, one line in the log",
		strangers, openFiles, open, seconds(used))
}

// ask sends a request on a connection of its own.
func ask(c net.Conn, key string, want int) {
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "GET /api/version HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer %s\r\n\r\n", key)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != want {
		fatal("a client amid a crowd of strangers: %+v, %v", res, err)
	}
	_, err = io.Copy(io.Discard, res.Body)
	must(err, "a client amid a crowd of strangers")
}
