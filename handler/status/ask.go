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
	// maxStatus bounds what is read of a Status: 4 MiB.
	maxStatus = 4 << 20

	// askTimeout bounds how long Ask waits: 5 s.
	askTimeout = 5 * time.Second
)

// Ask asks the proxy whose private listener is at the address for its Status. If
// nobody answers there within five seconds, or before the context ends, or what
// answers is no proxy of ours, Ask returns an error that names --metrics-listen.
func Ask(ctx context.Context, address string) (s Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local.Reachable(address)+"/status", nil)
	if err != nil {
		return s, fmt.Errorf("--metrics-listen: %q is no address such as 127.0.0.1:9464", address)
	}
	r.Host = "localhost" // we are no web page, whatever the name of the address
	res, err := local.Direct.Do(r)
	if err != nil {
		return s, fmt.Errorf("no proxy answers on --metrics-listen %s: %w", address, local.RootCause(err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return s, fmt.Errorf("what answers on --metrics-listen %s is no proxy with a status to show (status %d)", address, res.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxStatus)).Decode(&s); err != nil || len(s.Hour.Requests) == 0 {
		return s, fmt.Errorf("what answers on --metrics-listen %s is no proxy with a status to show", address)
	}
	return s, nil
}
