package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"
)

// Certificates are what a Server shows on its public listener: a [Certificate]
// in files, or those of [ACME].
type Certificates interface {
	// Reload takes in new ones, see Reload.Load.
	Reload(ctx context.Context, force bool) (changed bool, err error)

	// NotAfter is when the first of them ends.
	NotAfter() time.Time

	Config() *tls.Config
}

// Certificate is a TLS certificate in two files, which can be loaded again
// while connections use it.
type Certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// LoadCertificate reads a certificate, with the chain that leads to it, and its
// private key, both PEM. If either cannot be read, or they do not belong
// together, LoadCertificate returns an error.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	_, err := c.Reload(context.Background(), true)
	return c, err
}

// Reload reads the files again and reports whether they hold another
// certificate now. New connections use it; those that there are go on. If the
// files are unfit, also while only one of the two has been replaced, the
// certificate that was good stays and Reload returns an error.
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

// NotAfter is when the certificate in use ends.
func (c *Certificate) NotAfter() time.Time { return c.current.Load().Leaf.NotAfter }

func (c *Certificate) Config() *tls.Config {
	return tlsConfig(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil })
}

// tlsConfig is for TLS 1.2 or newer, with HTTP/2 for those who speak it.
func tlsConfig(choose func(*tls.ClientHelloInfo) (*tls.Certificate, error), protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     append([]string{"h2", "http/1.1"}, protocols...),
		GetCertificate: choose,
	}
}
