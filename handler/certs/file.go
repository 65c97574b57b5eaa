package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"
)

// Certificates are the TLS certificates of the public listener: a [Certificate] from
// files, or those of [ACME]. They are safe for concurrent use.
type Certificates interface {
	// Reload looks for new certificates and reports whether there are any. If that
	// fails, those in use stay in use and Reload returns an error. With force, Reload
	// tries again sooner what failed before.
	Reload(ctx context.Context, force bool) (changed bool, err error)

	// NotAfter returns when the first of the certificates expires; the Unix epoch if
	// there is none yet.
	NotAfter() time.Time

	// Config returns the configuration of the listener. It always uses the current
	// certificates.
	Config() *tls.Config
}

// Certificate is a TLS certificate and its key from two PEM files. It can be reloaded
// while connections use it.
type Certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// LoadCertificate reads a certificate chain, the server's certificate first, and its
// private key, both PEM. If a file cannot be read, or the two do not belong together,
// LoadCertificate returns an error.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	_, err := c.Reload(context.Background(), true)
	return c, err
}

// Reload reads the files again and reports whether they hold another certificate now.
// New connections use it; existing ones continue with the old one. If the files cannot
// be used, for example while only one of them has been replaced, the certificate in use
// stays and Reload returns an error.
func (c *Certificate) Reload(context.Context, bool) (changed bool, err error) {
	next, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return false, fmt.Errorf("certificate %s: %w", c.certFile, err)
	}
	if last := c.current.Load(); last != nil && last.Leaf.Equal(next.Leaf) && sameChain(last, &next) {
		return false, nil
	}
	c.current.Store(&next)
	return true, nil
}

// sameChain reports whether a and b consist of the same certificates.
func sameChain(a, b *tls.Certificate) bool {
	if len(a.Certificate) != len(b.Certificate) {
		return false
	}
	for i := range a.Certificate {
		if string(a.Certificate[i]) != string(b.Certificate[i]) {
			return false
		}
	}
	return true
}

// NotAfter returns when the certificate in use expires.
func (c *Certificate) NotAfter() time.Time { return c.current.Load().Leaf.NotAfter }

// Config returns a configuration for TLS 1.2 or newer that answers each handshake with
// the certificate in use.
func (c *Certificate) Config() *tls.Config {
	return tlsConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil })
}

// tlsConfig returns a configuration for TLS 1.2 or newer that offers HTTP/2, HTTP/1.1
// and the given protocols.
func tlsConfig(choose func(*tls.ClientHelloInfo) (*tls.Certificate, error), protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     append([]string{"h2", "http/1.1"}, protocols...),
		GetCertificate: choose,
	}
}
