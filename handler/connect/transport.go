package connect

import (
	"net"
	"net/http"
	"net/url"
	"time"
)

// newRemoteTransport returns the transport to one remote across a network. Connections
// there die unnoticed, when a laptop sleeps or a load balancer forgets them: pings and a
// short idle time find that out.
func newRemoteTransport() http.RoundTripper {
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext:       dialer.DialContext,
		Proxy:             tunnelFromEnvironment,
		ForceAttemptHTTP2: true,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: 15 * time.Second,
			PingTimeout:     15 * time.Second,
		},
		// The client gets the encoding that it asked for.
		DisableCompression: true,
		// With "Expect: 100-continue" a refused upload is never sent.
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   64,
		// Load balancers usually close idle connections after a minute. A chat sent
		// on a connection that is being closed would fail.
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		TLSHandshakeTimeout:    10 * time.Second,
	}
}

// tunnelFromEnvironment returns the proxy that the environment names for https. For
// plain http it returns none: a proxy would see the key and everything else.
func tunnelFromEnvironment(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}
