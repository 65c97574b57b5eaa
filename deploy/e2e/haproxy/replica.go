//go:build unix

package main

import (
	"path/filepath"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// A replica is a running `ollama-proxy serve`.
type replica struct {
	name, address, metrics string
	*kit.Child
}

func (r *replica) start() {
	r.Child = kit.Start(r.name, nil, filepath.Join(kit.Dir, "ollama-proxy"), "serve", "--listen", r.address, "--metrics-listen", r.metrics, "--upstream", "http://"+ollama.address,
		"--secret-file", filepath.Join(kit.Dir, "shared"), "--revocations", filepath.Join(kit.Dir, "list"), "--trusted-proxy", "127.0.0.1")
}

// metric returns the sum of a metric's series, or NaN while the replica does not serve.
func (r *replica) metric(name string) float64 {
	_, page := kit.Fetch("http://" + r.metrics + "/metrics")
	return kit.Scrape(page).Sum("ollama_proxy_" + name)
}
