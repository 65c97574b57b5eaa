//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

// checkChunks: each chunk arrives before the next one is sent, and soon. Without
// http-no-delay, HAProxy would hold it for 200 ms.
func checkChunks() {
	key := mint()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(kit.ReadFile(filepath.Join(kit.Dir, "tls.crt"))))
	over := &http.Client{Transport: transport(&tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})}
	for _, way := range []struct {
		name, url string
		client    *http.Client
	}{
		{"HTTP/1.1", "http://" + front, plain},
		{"HTTP/2.0", "https://" + frontTLS, over},
	} {
		for _, path := range []string{"/v1/chat/completions", "/api/chat", "/v1/messages"} {
			ctx, leave := context.WithTimeout(context.Background(), kit.Timeout)
			ollama.written.Store(0)
			res := ask(ctx, way.client, way.url+path, key, func(r *http.Request) { r.Header.Set(stepHeader, "yes") })
			if res.StatusCode != http.StatusOK || res.Proto != way.name {
				kit.Fatal("%s over %s got %d over %s", path, way.name, res.StatusCode, res.Proto)
			}
			var delays []time.Duration
			var received, written int64
			buffer := make([]byte, 32<<10)
			for n := range 20 {
				sent := time.Now()
				if n > 0 {
					written = ollama.written.Load()
					ollama.step <- struct{}{}
				}
				for received <= written {
					more, err := res.Body.Read(buffer)
					if received += int64(more); err != nil {
						kit.Fatal("%s over %s: chunk %d did not come before the next was sent: %v", path, way.name, n+1, err)
					}
				}
				if n > 0 {
					delays = append(delays, time.Since(sent))
				}
			}
			leave()
			res.Body.Close()
			ollama.await(0)
			slices.Sort(delays)
			median := delays[len(delays)/2]
			if median > held {
				kit.Fatal("%s over %s: chunks are held back, for %v", path, way.name, median)
			}
			kit.Note("%s over %s: chunks come one by one, after %v", path, way.name, median.Round(10*time.Microsecond))
		}
	}
	kit.Pass("chunks pass one by one")
}
