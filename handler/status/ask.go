package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/local"
)

const (
	// maxStatusBytes bounds the JSON of a Status: 4 MiB.
	maxStatusBytes = 4 << 20

	// askTimeout bounds how long Ask waits: 5 s.
	askTimeout = 5 * time.Second
)

// Ask requests the Status from the private listener at the address. If no proxy answers
// there within five seconds, or before the context ends, or another server does, Ask
// returns an error that names --metrics-listen.
func Ask(ctx context.Context, address string) (s Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local.Reachable(address)+"/status", nil)
	if err != nil {
		return s, fmt.Errorf("--metrics-listen: %q is not an address: write a host and a port, such as 127.0.0.1:9464", address)
	}
	r.Host = "localhost" // package local allows it, whatever name the address has
	res, err := local.Client.Do(r)
	if err != nil {
		return s, fmt.Errorf("no proxy answers on --metrics-listen %s: %w", address, local.RootCause(err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return s, fmt.Errorf("the server on --metrics-listen %s has no status of an ollama-proxy (HTTP status %d)", address, res.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxStatusBytes)).Decode(&s); err != nil || len(s.Hour.Requests) == 0 {
		return s, fmt.Errorf("the server on --metrics-listen %s has no status of an ollama-proxy", address)
	}
	return s, nil
}
