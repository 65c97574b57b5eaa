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

// ACMEOptions says which certificates to get, and where from.
type ACMEOptions struct {
	Domains   []string
	Directory string            // URL of the authority; "" means Let's Encrypt
	Cache     string            // directory for keys and certificates; "" means acme beside the secret
	Transport http.RoundTripper // to the authority; nil means http.DefaultTransport
}

// ACME gets certificates from an authority that speaks the protocol of that
// name, Let's Encrypt for one, and renews them in time.
//
// The authority has to reach the public listener at port 443 of each domain:
// the proof that a domain is ours travels inside TLS (tls-alpn-01). Proof over
// plain http is left out on purpose, because where port 80 answers, somebody
// will send a key to it.
//
// No client can cause an order: handshakes are answered from what there is, and
// fail for names that are not listed.
type ACME struct {
	manager *autocert.Manager
	domains map[string]*domain
	names   []string // of the domains, in order
}

// NewACME prepares to get certificates; orders begin with Reload. Who calls it
// accepts the authority's terms of service. If a domain is not a plain domain
// name, the directory not an https URL, or the cache cannot be written or could
// be by everybody, NewACME returns an error that names the flag.
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
			HTTPClient:   &http.Client{Timeout: time.Minute, Transport: &overhear{o.Transport, a.domains}},
		},
	}
	return a, nil
}

// domainName is how the name stands in a handshake and in a certificate: as
// autocert, too, has it.
func domainName(text string) (string, error) {
	name, err := idna.Lookup.ToASCII(text)
	_, notIP := netip.ParseAddr(name)
	if err != nil || notIP == nil || !strings.Contains(name, ".") || strings.Contains("."+name+".", "..") {
		return "", fmt.Errorf("%.253q is not a domain name", text)
	}
	return name, nil
}

// openACMECache fails early: autocert would not mind a cache that it cannot
// write, and order anew at every start until the authority had enough.
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

// Reload orders the certificates that are missing, without waiting for them,
// and reports whether new ones have come in since it was last called. If a
// domain's last order failed, or its certificate is overdue for renewal, Reload
// returns an error. What failed is tried again after a while, or with force
// within two minutes.
func (a *ACME) Reload(_ context.Context, force bool) (changed bool, err error) {
	var failures []string
	for _, name := range a.names {
		news, err := a.domains[name].refresh(a.manager, time.Now(), force)
		changed = changed || news
		if err != nil {
			failures = append(failures, err.Error())
		}
	}
	if failures != nil {
		return changed, errors.New(strings.Join(failures, "; "))
	}
	return changed, nil
}

// NotAfter is when the first of the certificates ends; with none yet, it is the
// beginning of 1970.
func (a *ACME) NotAfter() time.Time {
	first := time.Unix(0, 0)
	for _, d := range a.domains {
		if c := d.current.Load(); c != nil && (first.Unix() == 0 || c.Leaf.NotAfter.Before(first)) {
			first = c.Leaf.NotAfter
		}
	}
	return first
}

func (a *ACME) Config() *tls.Config { return tlsConfig(a.certificate, acme.ALPNProto) }

// certificate chooses what to answer a handshake with.
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
		return a.manager.GetCertificate(hello) // the authority wants its proof
	}
	if c := d.current.Load(); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("there is no certificate for %s yet", name)
}
