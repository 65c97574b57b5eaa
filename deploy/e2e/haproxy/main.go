//go:build unix

// Command haproxy checks deploy/haproxy/haproxy.cfg, with other addresses, in front of three
// replicas: each chunk is relayed at once, a key stays on its replica, no request fails when
// a replica drains or dies, and addresses that clients claim are not believed.
//
// .ci/deploy runs it with a directory that contains a certificate and the built
// ollama-proxy. $HAPROXY may name another haproxy. It exits with status 1 at the first
// failure.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	held   = 100 * time.Millisecond
	client = "127.0.0.2" // the clients' address; HAProxy and the replicas use 127.0.0.1
	chat   = `{"model":"llama3.2","stream":true,"max_tokens":60,"messages":[{"role":"user","content":"Why is the sky blue?"}]}`
)

var (
	ollama   = newUpstream()
	replicas []*replica
	front    string // HAProxy's addresses
	frontTLS string
	health   string
	log      haproxyLog
	plain    = &http.Client{Transport: transport(nil)}
)

func main() {
	if len(os.Args) != 2 {
		kit.Fatal("run .ci/deploy instead")
	}
	kit.Dir = os.Args[1]
	start()
	slow, began := slowHead()
	checkChunks()
	checkAffinity()
	checkAddress()
	checkLeaving()
	checkDrain()
	checkDeath()
	checkSlowHead(slow, began)
	checkHealth()
}

// start starts Ollama, three replicas and HAProxy.
func start() {
	kit.WriteFile(filepath.Join(kit.Dir, "list"), "")
	kit.Command("secret", "--out", filepath.Join(kit.Dir, "shared"))
	var servers strings.Builder
	for i := range 3 {
		r := &replica{name: fmt.Sprintf("r%d", i+1), address: kit.FreeAddress(), metrics: kit.FreeAddress()}
		replicas = append(replicas, r)
		r.start()
		_, port, _ := net.SplitHostPort(r.metrics)
		fmt.Fprintf(&servers, "  server %s %s port %s\n", r.name, r.address, port)
	}
	front, frontTLS, health = kit.FreeAddress(), kit.FreeAddress(), kit.FreeAddress()
	file := kit.HAProxyConfig(servers.String(), [2]string{`bind :8080`, `bind ` + front},
		[2]string{`bind :8443`, `bind ` + frontTLS}, [2]string{`bind 127.0.0.1:8404`, `bind ` + health})
	name := "haproxy"
	if other := os.Getenv("HAPROXY"); other != "" {
		name = other
	}
	kit.Start("haproxy", func(c *exec.Cmd) {
		c.Env = append(c.Env, "TLS_CERTIFICATE="+filepath.Join(kit.Dir, "tls.pem"))
		c.Stdout, c.Stderr = &log, &log
	}, name, "-db", "-f", file)
	key := mint()
	kit.Await("HAProxy and its replicas", func() bool {
		code, _ := kit.Fetch("http://" + health + "/")
		return code == http.StatusOK && status(key, "/v1/models", nil) == http.StatusOK &&
			!slices.ContainsFunc(replicas, func(r *replica) bool {
				code, _ := kit.Fetch("http://" + r.metrics + "/readyz")
				return code != http.StatusOK
			})
	})
}
