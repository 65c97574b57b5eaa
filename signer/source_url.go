package signer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// fetchTimeout bounds a fetch, up to the last byte of the body.
	fetchTimeout = 30 * time.Second

	// maxRedirects bounds the redirects of one fetch.
	maxRedirects = 3
)

// isURL reports whether a location is an http or https URL.
func isURL(location string) bool {
	lower := strings.ToLower(location[:min(len(location), len("https://"))])
	return strings.HasPrefix(lower, "http://") || lower == "https://"
}

// newTransport returns a transport that does not ask for compression: a few compressed
// bytes could become an endless list.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:              tunnelFromEnvironment,
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		IdleConnTimeout:    fetchTimeout,
	}
}

// tunnelFromEnvironment returns the forward proxy from the environment for an https URL,
// and none for http: without TLS, the proxy would see the password in the URL, and could
// change the list.
func tunnelFromEnvironment(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// openURL returns the body of the response, or nil if it has not changed.
func (s *Source) openURL(ctx context.Context) (io.ReadCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	response, err := s.get(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	body := joined{response.Body, func() error { defer cancel(); return response.Body.Close() }}
	conditional := s.accepted.etag != "" || s.accepted.modified != ""
	switch {
	case response.StatusCode == http.StatusOK && response.ContentLength > maxRevocations:
		err = fmt.Errorf("more than %d bytes", maxRevocations)
	case response.StatusCode == http.StatusOK:
		return s.offer(body, validators(response.Header))
	case response.StatusCode != http.StatusNotModified || !conditional:
		err = fmt.Errorf("the server answered with status %d", response.StatusCode)
	}
	body.Close()
	return nil, err
}

// validators returns the validators for the next conditional request. Servers derive
// ETag and Last-Modified from the file's time, often in seconds: if that is too recent
// for another change to get another time, validators returns none.
func validators(h http.Header) version {
	v := version{etag: h.Get("ETag"), modified: h.Get("Last-Modified")}
	if v.modified == "" {
		return v
	}
	modified, err := http.ParseTime(v.modified)
	date, dateErr := http.ParseTime(h.Get("Date"))
	if err != nil || dateErr != nil || date.Sub(modified) <= settleTime {
		return version{}
	}
	return v
}

// get sends the request and follows redirects. http.Client is not used, because its
// errors contain URLs, and because it sends the URL of one server, with its query, to
// the next as the Referer.
func (s *Source) get(ctx context.Context) (*http.Response, error) {
	at := s.url
	for range maxRedirects + 1 {
		request := (&http.Request{Method: http.MethodGet, URL: at, Header: http.Header{}}).WithContext(ctx)
		if at.User != nil {
			password, _ := at.User.Password()
			request.SetBasicAuth(at.User.Username(), password)
		}
		if s.accepted.etag != "" {
			request.Header.Set("If-None-Match", s.accepted.etag)
		}
		if s.accepted.modified != "" {
			request.Header.Set("If-Modified-Since", s.accepted.modified)
		}
		response, err := s.transport.RoundTrip(request)
		if err != nil {
			return nil, err
		}
		switch response.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return response, nil
		}
		response.Body.Close()
		next, err := at.Parse(response.Header.Get("Location"))
		switch {
		case err != nil || next.Hostname() == "" || next.Scheme != "http" && next.Scheme != "https":
			return nil, errors.New("the server leads on to no URL")
		case at.Scheme == "https" && next.Scheme == "http":
			return nil, errors.New("the server leads on from https to http")
		}
		at = next
	}
	return nil, fmt.Errorf("the server leads on more than %d times", maxRedirects)
}
