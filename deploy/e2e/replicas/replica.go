//go:build unix

package main

import (
	"net/http"
	"path/filepath"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// A replica is one ollama-proxy serve. Its address, its metrics' address and
// its secret file outlive the process.
type replica struct {
	name, address, metrics, secret string

	starts int
	*kit.Child
}

// start runs the proxy as a process of its own.
func (r *replica) start() {
	r.starts++
	r.Child = kit.Start(r.name, nil, filepath.Join(kit.Dir, "ollama-proxy"), "serve",
		"--listen", r.address, "--metrics-listen", r.metrics, "--upstream", "http://"+ollama,
		"--secret-file", r.secret, "--revocations", revocations(), "--reload-interval", interval.String())
}

func (r *replica) ready() bool {
	status, _ := kit.Fetch("http://" + r.metrics + "/readyz")
	return status == http.StatusOK
}

// scrape gets the metrics as they are at one moment.
func (r *replica) scrape() kit.Scrape { return kit.ScrapeOf(r.metrics) }

func (r *replica) fingerprint() string { return r.scrape().One("ollama_proxy_secret_fingerprint") }

func everywhere() []string {
	return []string{replicas[0].address, replicas[1].address, replicas[2].address, haproxy}
}
