//go:build unix

package main

import (
	"net/http"
	"path/filepath"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// A replica is an `ollama-proxy serve` whose addresses and secret file stay the same when its
// process is replaced.
type replica struct {
	name, address, metrics, secret string

	starts int
	*kit.Child
}

// start starts the process.
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

// scrape gets the metrics.
func (r *replica) scrape() kit.Scrape { return kit.ScrapeOf(r.metrics) }

func (r *replica) fingerprint() string { return r.scrape().One("ollama_proxy_secret_fingerprint") }

func everywhere() []string {
	return []string{replicas[0].address, replicas[1].address, replicas[2].address, haproxy}
}
