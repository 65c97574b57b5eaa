package certs

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme/autocert"
)

const (
	// firstRetry is the time between a failed order and the next one for the domain.
	// Each further failure doubles it, up to lastRetry. Authorities limit failures:
	// Let's Encrypt allows five an hour.
	firstRetry = 2 * time.Minute
	lastRetry  = time.Hour

	// maxACMEAnswer is the most that is read of an authority's response: 1 MiB.
	maxACMEAnswer = 1 << 20
)

// domain is one domain name and its certificate.
type domain struct {
	name    string
	current atomic.Pointer[tls.Certificate] // nil until the first order succeeds

	mu         sync.Mutex
	ordering   bool          // an order is in progress
	changed    bool          // current has changed since the last refresh
	err        error         // of the last order
	detail     string        // why the authority could not validate the name, in its words; "" if unknown
	failedAt   time.Time     // when the last order failed
	retryAfter time.Duration // how long after failedAt the next order may be placed
}

// refresh starts an order in the background if one is due. It reports whether the
// certificate has changed since the last call, and returns the error of the last order,
// or that the renewal is overdue.
func (d *domain) refresh(m *autocert.Manager, now time.Time, force bool) (changed bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if force {
		d.retryAfter = min(d.retryAfter, firstRetry)
	}
	if !d.ordering && now.Sub(d.failedAt) >= d.retryAfter {
		d.ordering = true
		if d.err != nil {
			d.detail = ""
		}
		go d.order(m)
	}
	changed, d.changed = d.changed, false
	if c := d.current.Load(); d.err == nil && c != nil && overdue(c, now) {
		return changed, d.failure(fmt.Errorf("the certificate ends %s and has not been renewed", c.Leaf.NotAfter.Format(time.RFC3339)))
	}
	return changed, d.err
}

// order gets the certificate from autocert, which orders it if it is not in the cache,
// and renews it by itself.
func (d *domain) order(m *autocert.Manager) {
	// ECDSA only: by default autocert orders a second certificate as soon
	// as a client claims to support nothing but RSA.
	c, err := m.GetCertificate(&tls.ClientHelloInfo{
		ServerName:   d.name,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ordering = false
	if err != nil {
		d.err, d.failedAt, d.retryAfter = d.failure(err), time.Now(), min(max(2*d.retryAfter, firstRetry), lastRetry)
		return
	}
	d.err, d.retryAfter = nil, 0
	if last := d.current.Load(); last == nil || !last.Leaf.Equal(c.Leaf) {
		d.current.Store(c)
		d.changed, d.detail = true, ""
	}
}

// failure adds the name, and the authority's own explanation if there is one.
func (d *domain) failure(err error) error {
	if d.detail != "" {
		return fmt.Errorf("%s: %w: %s", d.name, err, d.detail)
	}
	return fmt.Errorf("%s: %w", d.name, err)
}

// overdue reports whether half of the time has passed in which autocert renews: the last
// third of a certificate's life, but at most its last 30 days.
func overdue(c *tls.Certificate, now time.Time) bool {
	span := min(c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)/3, 30*24*time.Hour)
	return now.After(c.Leaf.NotAfter.Add(-span / 2))
}

// problemRecorder is the RoundTripper to the authority. It records why a domain could
// not be validated, which autocert's error does not say.
type problemRecorder struct {
	next    http.RoundTripper
	domains map[string]*domain
}

// RoundTrip implements http.RoundTripper. It reads the whole response, of 1 MiB at most,
// before it returns.
func (o *problemRecorder) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := o.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxACMEAnswer))
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	var authorization struct {
		Identifier struct{ Value string }
		Challenges []struct {
			Error struct{ Detail string }
		}
	}
	if json.Unmarshal(body, &authorization) != nil {
		return res, nil
	}
	if d := o.domains[authorization.Identifier.Value]; d != nil {
		for _, challenge := range authorization.Challenges {
			if text := challenge.Error.Detail; text != "" {
				d.mu.Lock()
				d.detail = text
				d.mu.Unlock()
			}
		}
	}
	return res, nil
}
