package keyinfo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// askTimeout bounds a question from its start to the answer's last byte: 30 s.
	askTimeout = 30 * time.Second

	// maxAnswer bounds an answer: 64 KiB, where the longest key makes 4 KiB.
	maxAnswer = 64 << 10
)

// ErrRefused means that the remote does not take the key.
var ErrRefused = errors.New("it refuses the key")

// Ask asks the remote, the URL under which its routes are, what the key may do there.
//
//   - If the remote refuses the key (401), the error is ErrRefused.
//   - If it cannot be reached within 30 s, or answers otherwise than a proxy that has
//     the route, Ask says so.
//
// No error shows the key. A proxy of the environment's may tunnel https; it sees no plain
// http.
func Ask(ctx context.Context, remote *url.URL, key string) (info Info, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, remote.JoinPath(Path).String(), nil)
	if err != nil {
		return Info{}, errors.New("the URL cannot be asked for")
	}
	request.Header.Set("Authorization", "Bearer "+key)
	transport := &http.Transport{Proxy: tunnelFromEnvironment, ForceAttemptHTTP2: true, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return Info{}, fmt.Errorf("%s: %w", remote.Host, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case answer.StatusCode == http.StatusUnauthorized:
		return Info{}, fmt.Errorf("%s: %w", remote.Host, ErrRefused)
	case answer.StatusCode == http.StatusForbidden:
		return Info{}, fmt.Errorf("%s: the key is not for use from here", remote.Host)
	case answer.StatusCode == http.StatusNotFound:
		return Info{}, fmt.Errorf("%s has no %s: is it an ollama-proxy, and new enough?", remote.Host, Path)
	case answer.StatusCode != http.StatusOK:
		return Info{}, fmt.Errorf("%s answers %d", remote.Host, answer.StatusCode)
	case err != nil:
		return Info{}, fmt.Errorf("%s: %w", remote.Host, err)
	case len(body) > maxAnswer:
		return Info{}, fmt.Errorf("%s answers with more than %d bytes", remote.Host, maxAnswer)
	}
	if err := json.Unmarshal(body, &info); err != nil || info.ID == "" {
		return Info{}, fmt.Errorf("%s answers with something else than what a key may do: is it an ollama-proxy?", remote.Host)
	}
	return info, nil
}

// tunnelFromEnvironment is the proxy that the environment names for an https URL, and none
// for plain http: it would see the key.
func tunnelFromEnvironment(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}
