package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
	"golang.org/x/net/idna"
)

// ACMEOptions says which certificates to order, and from which authority.
type ACMEOptions struct {
	Domains   []string          // the names to order one certificate each for
	Directory string            // the authority's directory URL, https; "" means Let's Encrypt
	Cache     string            // directory for keys and certificates; "" means ollama-proxy/acme in the user's configuration directory
	Transport http.RoundTripper // for requests to the authority; nil means http.DefaultTransport
}

// ACME orders certificates from an authority that speaks the ACME protocol (RFC 8555),
// such as Let's Encrypt, and renews them in time.
//
// The authority validates each domain by a TLS handshake with the public listener at
// port 443 (tls-alpn-01). Validation over plain HTTP is left out on purpose: if port 80
// answered, somebody would send a key to it.
//
// No client can cause an order: a handshake for a name that is not listed fails, and so
// does one for a listed name until its certificate is there.
type ACME struct {
	manager *autocert.Manager
	domains map[string]*domain
	names   []string // of the domains, in the order given
}

// NewACME prepares to order certificates; Reload places the orders. Whoever calls
// NewACME accepts the authority's terms of service. If a domain is not a plain domain
// name, the directory is not an https URL, or the cache directory is not writable or is
// writable by everybody, NewACME returns an error that names the flag.
func NewACME(o ACMEOptions) (*ACME, error) {
	if o.Directory == "" {
		o.Directory = autocert.DefaultACMEDirectory
	}
	if u, err := url.Parse(o.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("--acme-directory: %q is not a URL such as %s", o.Directory, autocert.DefaultACMEDirectory)
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	a := &ACME{domains: map[string]*domain{}}
	for _, text := range o.Domains {
		name, err := domainName(text)
		if err != nil {
			return nil, fmt.Errorf("--acme-domain: %w such as gpu.example.com", err)
		}
		if a.domains[name] == nil {
			a.domains[name] = &domain{name: name}
			a.names = append(a.names, name)
		}
	}
	cache, err := openACMECache(o.Cache)
	if err != nil {
		return nil, fmt.Errorf("--acme-cache: %w", err)
	}
	a.manager = &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		Cache:      cache,
		HostPolicy: autocert.HostWhitelist(a.names...),
		Client: &acme.Client{
			DirectoryURL: o.Directory,
			UserAgent:    "ollama-proxy",
			HTTPClient:   &http.Client{Timeout: time.Minute, Transport: &problemRecorder{o.Transport, a.domains}},
		},
	}
	return a, nil
}

// domainName returns the name as it appears in handshakes and certificates, in ASCII and
// lower case, as autocert has it. IP addresses and names without a dot are errors.
func domainName(text string) (string, error) {
	name, err := idna.Lookup.ToASCII(text)
	_, notIP := netip.ParseAddr(name)
	if err != nil || notIP == nil || !strings.Contains(name, ".") || strings.Contains("."+name+".", "..") {
		return "", fmt.Errorf("%.253q is not a domain name", text)
	}
	return name, nil
}

// openACMECache creates the cache directory and checks that it is writable. Otherwise
// autocert would work without its cache, and order new certificates at every start until
// the authority refused.
func openACMECache(dir string) (autocert.Cache, error) {
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("name a directory: %w", err)
		}
		dir = filepath.Join(config, "ollama-proxy", "acme")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o002 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("everybody may write to %s: name a directory of its own", dir)
	}
	probe, err := os.CreateTemp(dir, "probe")
	if err != nil {
		return nil, err
	}
	return autocert.DirCache(dir), errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// Reload starts to order the certificates that are missing, without waiting for them. It
// reports whether a certificate has arrived since the last call. If a domain's last
// order failed, or its certificate is overdue for renewal, Reload returns an error. A
// failed order is repeated after 2 minutes, and after twice the time for each further
// failure, up to 1 hour; with force, after 2 minutes at most.
func (a *ACME) Reload(_ context.Context, force bool) (changed bool, err error) {
	var failures []string
	for _, name := range a.names {
		isNew, err := a.domains[name].refresh(a.manager, time.Now(), force)
		changed = changed || isNew
		if err != nil {
			failures = append(failures, err.Error())
		}
	}
	if failures != nil {
		return changed, errors.New(strings.Join(failures, "; "))
	}
	return changed, nil
}

// NotAfter returns when the first of the certificates expires, or the Unix epoch if
// there is none yet.
func (a *ACME) NotAfter() time.Time {
	first := time.Unix(0, 0)
	for _, d := range a.domains {
		if c := d.current.Load(); c != nil && (first.Unix() == 0 || c.Leaf.NotAfter.Before(first)) {
			first = c.Leaf.NotAfter
		}
	}
	return first
}

// Config returns a configuration for TLS 1.2 or newer that answers each handshake with
// the domain's current certificate.
func (a *ACME) Config() *tls.Config { return tlsConfig(a.certificate, acme.ALPNProto) }

// certificate chooses the certificate for a handshake.
func (a *ACME) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name, err := domainName(hello.ServerName)
	if err != nil {
		return nil, err
	}
	d := a.domains[name]
	if d == nil {
		return nil, fmt.Errorf("%.253q is not one of our domains", name)
	}
	if slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
		return a.manager.GetCertificate(hello) // the authority validates the domain
	}
	if c := d.current.Load(); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("there is no certificate for %s yet", name)
}
