//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

func transport(config *tls.Config) *http.Transport {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}
	return &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: config, ForceAttemptHTTP2: config != nil}
}

// ask posts a chat with a key.
func ask(ctx context.Context, c *http.Client, url, key string, set func(*http.Request)) *http.Response {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(chat))
	kit.Must(err, "a request")
	r.Header.Set("Authorization", "Bearer "+key)
	if set != nil {
		set(r)
	}
	res, err := c.Do(r)
	kit.Must(err, "asking %s", url)
	return res
}

// status returns the status of a GET through HAProxy, or 0 if there is no answer.
func status(key, path string, set func(*http.Request)) int {
	r, err := http.NewRequest(http.MethodGet, "http://"+front+path, nil)
	kit.Must(err, "a request")
	r.Header.Set("Authorization", "Bearer "+key)
	if set != nil {
		set(r)
	}
	res, err := plain.Do(r)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res.StatusCode
}

func mint(more ...string) string {
	return kit.Command(append([]string{"mint", "--secret-file", filepath.Join(kit.Dir, "shared")}, more...)...)
}
