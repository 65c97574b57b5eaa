//go:build ignore

package main

import (
	"net/http"
	"path/filepath"
)

// A replica is one ollama-proxy serve. Its address, its metrics' address and
// its secret file outlive the process.
type replica struct {
	name, address, metrics, secret string

	starts int
	*process
}

// start runs the proxy as a process of its own.
func (r *replica) start() {
	r.starts++
	r.process = begin(r.name, nil, filepath.Join(dir, "ollama-proxy"), "serve",
		"--listen", r.address, "--metrics-listen", r.metrics, "--upstream", "http://"+ollama,
		"--secret-file", r.secret, "--revocations", revocations(), "--reload-interval", interval.String())
}

func (r *replica) ready() bool {
	status, _ := fetch("http://" + r.metrics + "/readyz")
	return status == http.StatusOK
}

// scrape gets the metrics as they are at one moment.
func (r *replica) scrape() scrape { return scrapeOf(r.metrics) }

func (r *replica) fingerprint() string { return r.scrape().one("ollama_proxy_secret_fingerprint") }

// one is the value of a metric without labels, as it stands.
func (s scrape) one(name string) string {
	values := s.values(name)
	if len(values) != 1 {
		fatal("the metrics have %d values of %s", len(values), name)
	}
	return values[0]
}

func everywhere() []string {
	return []string{replicas[0].address, replicas[1].address, replicas[2].address, haproxy}
}
