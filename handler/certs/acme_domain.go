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
	// firstRetry is how long a domain whose order failed waits for the next;
	// every failure doubles it, up to lastRetry. Authorities count failures:
	// Let's Encrypt takes five an hour.
	firstRetry = 2 * time.Minute
	lastRetry  = time.Hour

	// maxACMEAnswer bounds what is read of an authority's answer: 1 MiB.
	maxACMEAnswer = 1 << 20
)

// domain is one name that the proxy goes by.
type domain struct {
	name    string
	current atomic.Pointer[tls.Certificate] // nil as long as there is none

	mu      sync.Mutex
	asking  bool
	changed bool          // since the last refresh
	err     error         // of the last order
	said    string        // by the authority about the name, where it is not ours
	failed  time.Time     // when err was
	wait    time.Duration // from then until the next order
}

func (d *domain) refresh(m *autocert.Manager, now time.Time, force bool) (changed bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if force {
		d.wait = min(d.wait, firstRetry)
	}
	if !d.asking && now.Sub(d.failed) >= d.wait {
		d.asking = true
		if d.err != nil {
			d.said = ""
		}
		go d.ask(m)
	}
	changed, d.changed = d.changed, false
	if c := d.current.Load(); d.err == nil && c != nil && overdue(c, now) {
		return changed, d.failure(fmt.Errorf("the certificate ends %s and has not been renewed", c.Leaf.NotAfter.Format(time.RFC3339)))
	}
	return changed, d.err
}

// ask takes the certificate from autocert, which orders it if it has none and
// renews it by itself.
func (d *domain) ask(m *autocert.Manager) {
	// Of one kind only: by default autocert orders a second certificate as soon
	// as a client claims to know nothing but RSA.
	c, err := m.GetCertificate(&tls.ClientHelloInfo{
		ServerName:   d.name,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asking = false
	if err != nil {
		d.err, d.failed, d.wait = d.failure(err), time.Now(), min(max(2*d.wait, firstRetry), lastRetry)
		return
	}
	d.err, d.wait = nil, 0
	if last := d.current.Load(); last == nil || !last.Leaf.Equal(c.Leaf) {
		d.current.Store(c)
		d.changed, d.said = true, ""
	}
}

// failure says why in the authority's words where it has said so.
func (d *domain) failure(err error) error {
	if d.said != "" {
		return fmt.Errorf("%s: %w: %s", d.name, err, d.said)
	}
	return fmt.Errorf("%s: %w", d.name, err)
}

// overdue reports whether half of the time has passed that autocert has for a
// renewal: the last third of a certificate's life, but not more than 30 days.
func overdue(c *tls.Certificate, now time.Time) bool {
	span := min(c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)/3, 30*24*time.Hour)
	return now.After(c.Leaf.NotAfter.Add(-span / 2))
}

// overhear is the way to the authority. It keeps why a domain could not be
// proven to be ours: autocert says no more than that it is so.
type overhear struct {
	next    http.RoundTripper
	domains map[string]*domain
}

func (o *overhear) RoundTrip(r *http.Request) (*http.Response, error) {
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
			if why := challenge.Error.Detail; why != "" {
				d.mu.Lock()
				d.said = why
				d.mu.Unlock()
			}
		}
	}
	return res, nil
}
