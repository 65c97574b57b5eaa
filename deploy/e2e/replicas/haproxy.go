//go:build unix

package main

import (
	"encoding/csv"
	"net/http"
	"strconv"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// A request of which the client has seen nothing yet is sent to another replica
// when its own dies. "option http-no-delay" lets each chunk pass at once.
const haproxyConfig = `
global
  maxconn 500
  zero-warning
defaults
  mode http
  option http-no-delay
  timeout connect 1s
  timeout client 30s
  timeout server 30s
frontend front
  bind %s
  http-response set-header X-Replica %%s
  default_backend replicas
backend replicas
  balance roundrobin
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response junk-response
  option httpchk GET /readyz
  default-server inter 200ms fall 2 rise 1
%sfrontend stats
  bind %s
  stats enable
  stats uri /
`

// up reports whether HAProxy's health check has found the replica healthy.
func up(r *replica) bool {
	row := proxyStats(r.name)
	return row["status"] == "UP" && row["check_status"] == "L7OK"
}

// redispatched returns how many requests HAProxy has retried on another replica.
func redispatched() float64 {
	n, err := strconv.ParseFloat(proxyStats("BACKEND")["wredis"], 64)
	kit.Must(err, "HAProxy's statistics")
	return n
}

// proxyStats returns HAProxy's statistics of one server, or of all.
func proxyStats(server string) map[string]string {
	status, page := kit.Fetch("http://" + stats + "/;csv")
	if status != http.StatusOK {
		return nil // not there yet
	}
	rows, err := csv.NewReader(strings.NewReader(page)).ReadAll()
	kit.Must(err, "HAProxy's statistics")
	for _, row := range rows {
		if row[0] == "replicas" && row[1] == server {
			found := map[string]string{}
			for i, name := range rows[0] {
				found[name] = row[i]
			}
			return found
		}
	}
	return nil
}
