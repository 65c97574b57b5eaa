package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// ParseUpstream reads where Ollama is, as OLLAMA_HOST spells it: a URL, or a
// host with or without a port. An address that only a server can use, such as
// 0.0.0.0, means this machine. If the text has a path, a user or an unknown
// scheme, or no host, ParseUpstream returns an error.
func ParseUpstream(text string) (*url.URL, error) {
	scheme, rest, found := strings.Cut(strings.TrimSpace(text), "://")
	port := map[string]string{"http": "80", "https": "443"}[scheme]
	if !found {
		scheme, rest, port = "http", scheme, "11434"
	}
	if port == "" {
		return nil, fmt.Errorf("%s is no scheme to reach Ollama by; use http or https", scheme)
	}
	rest = strings.TrimSuffix(rest, "/")
	host := rest
	if h, p, err := net.SplitHostPort(rest); err == nil {
		host, port = h, p
	}
	host = strings.Trim(host, "[]")
	if n, err := strconv.ParseUint(port, 10, 16); host == "" || err != nil || n == 0 || strings.ContainsAny(host, "/?#@ ") {
		return nil, errors.New("not where Ollama can be; write it like http://127.0.0.1:11434")
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsUnspecified() {
		host = "127.0.0.1"
		if addr.Is6() {
			host = "::1"
		}
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}, nil
}

const (
	// watchInterval is how often Ollama is looked after; a look costs it
	// nothing.
	watchInterval = 10 * time.Second

	// maxKnown bounds how many models may become labels.
	maxKnown = 1000
)

// WatchUpstream asks Ollama for its models, at once and then every ten seconds
// until the context ends, and logs when it comes and goes. Requests do not wait
// for that: each finds out for itself.
func (p *Proxy) WatchUpstream(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for up, first := false, true; ; first = false {
		known, err := p.askModels(ctx)
		if ctx.Err() != nil {
			return
		}
		switch now := err == nil; {
		case now && (first || !up):
			p.Log.Info("Ollama answers", "upstream", p.Upstream.Redacted(), "models", len(known))
		case !now && (first || up):
			p.Log.Warn("Ollama cannot be reached: requests get 502 until it can", "upstream", p.Upstream.Redacted(), "error", err)
		}
		if up = err == nil; up {
			p.known.Store(&known)
		}
		p.Recorder.UpstreamUp(up)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// askModels gives the models that Ollama lists, in their canonical spelling.
func (p *Proxy) askModels(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, watchInterval/2)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Upstream.JoinPath("/api/tags").String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "ollama-proxy")
	res, err := p.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /api/tags gives status %d", res.StatusCode)
	}
	var list struct{ Models []struct{ Name string } }
	if err := json.NewDecoder(io.LimitReader(res.Body, maxList)).Decode(&list); err != nil {
		return nil, errBadList
	}
	known := map[string]bool{}
	for _, m := range list.Models {
		if name, ok := signer.CanonicalModel(m.Name); ok && len(known) < maxKnown {
			known[name] = true
		}
	}
	return known, nil
}
