package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/local"
)

// explain says in plain words why the remote gave no answer, and what to do. It quotes
// the remote's certificate and nothing else that the remote sent.
func explain(err error, remote *url.URL) string {
	if text := explainTLS(err, remote); text != "" {
		return text
	}
	var dns *net.DNSError
	var dial *net.OpError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "there is no host " + remote.Hostname()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer within " + lookTime.String()
	case errors.As(err, &dial) && dial.Op == "dial":
		return remote.Host + " cannot be reached (" + local.RootCause(err).Error() + ")"
	}
	return "no proper answer from " + remote.Host
}

// explainTLS says why there is no TLS connection, or returns "" if that is not the
// reason.
func explainTLS(err error, remote *url.URL) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return "TLS fails: this machine does not know the authority that signed the certificate of " + remote.Host + "; SSL_CERT_FILE may name a file with it"
	case errors.As(err, &name):
		return "TLS fails: the certificate of " + remote.Host + " is for " + names(name.Certificate) + ", not for " + name.Host
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		if time.Now().Before(invalid.Cert.NotBefore) {
			return "TLS fails: the certificate of " + remote.Host + " is not valid before " + invalid.Cert.NotBefore.Format(time.RFC3339) + "; is this machine's clock right?"
		}
		return "TLS fails: the certificate of " + remote.Host + " expired at " + invalid.Cert.NotAfter.Format(time.RFC3339) + ", if this machine's clock is right"
	case errors.As(err, &invalid):
		return "TLS fails: the certificate of " + remote.Host + " is not valid"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &header) && strings.HasPrefix(string(header.RecordHeader[:]), "HTTP/"):
		return "TLS fails: " + remote.Host + " speaks plain http on that port"
	case errors.As(err, &header):
		return "TLS fails: " + remote.Host + " speaks something else on that port"
	case errors.As(err, &alert):
		return "TLS fails: " + remote.Host + " refuses (" + alert.Error() + ")"
	case remote.Scheme == "http" && strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`):
		return remote.Host + " speaks TLS: write https:// in place of http://" // it sent a TLS alert
	}
	return ""
}

// names returns up to three of the names that a certificate is for.
func names(c *x509.Certificate) string {
	all := c.DNSNames
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	switch {
	case len(all) == 0:
		return "no name at all"
	case len(all) > 3:
		all = append(all[:3:3], "others")
	}
	return tame(strings.Join(all, ", "))
}
