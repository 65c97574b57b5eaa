package certs_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/certs"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

const ninetyDays = 90 * 24 * time.Hour

// authority is an ACME authority that issues whatever is ordered, unless it has a
// problem with the domain. .ci/acme tests against a real one, which validates.
type authority struct {
	mu      sync.Mutex
	orders  []*order
	err     error  // of every request to it
	problem string // why it cannot validate a domain
}

// order is an order for a certificate. The paths of all its resources end in its number.
type order struct {
	certificate []byte // PEM
	proven      bool   // or so the client says
}

func (a *authority) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	status, answer := http.StatusOK, any(nil)
	const at = "https://acme.test"
	type object map[string]any
	path, number, _ := strings.Cut(r.URL.Path[1:], "/")
	current := &order{}
	if n, err := strconv.Atoi(number); err == nil {
		current = a.orders[n]
	}
	switch path {
	case "directory":
		answer = object{"newNonce": at + "/nonce", "newAccount": at + "/account", "newOrder": at + "/orders"}
	case "account":
		status, answer = http.StatusCreated, object{"status": "valid"}
	case "orders":
		number = strconv.Itoa(len(a.orders))
		a.orders = append(a.orders, &order{})
		order := object{"status": "ready", "finalize": at + "/finalize/" + number}
		if a.problem != "" {
			order = object{"status": "pending", "authorizations": []string{at + "/authorization/" + number}}
		}
		status, answer = http.StatusCreated, order
	case "authorization":
		state, challenge := "pending", object{"type": "tls-alpn-01", "url": at + "/challenge/" + number, "token": "token"}
		if current.proven {
			state, challenge["error"] = "invalid", object{"detail": a.problem}
		}
		answer = object{"status": state, "identifier": object{"type": "dns", "value": "gpu.example.com"}, "challenges": []object{challenge}}
	case "challenge":
		current.proven = true
		answer = object{"status": "processing"}
	case "finalize":
		if err := current.issue(r.Body); err != nil {
			return nil, err
		}
		answer = object{"status": "valid", "certificate": at + "/certificate/" + number}
	}
	body, _ := json.Marshal(answer)
	if path == "certificate" {
		body = current.certificate
	}
	if a.err != nil {
		a.orders = append(a.orders, current)
		return nil, a.err
	}
	return &http.Response{
		StatusCode: status, Request: r, Body: io.NopCloser(strings.NewReader(string(body))),
		Header: http.Header{"Replay-Nonce": {"nonce"}, "Location": {at + "/order/" + number}},
	}, nil
}

// issue makes the certificate for the CSR in a signed ACME request.
func (o *order) issue(body io.Reader) error {
	var signed struct{ Payload string }
	var payload struct{ CSR string }
	if err := json.NewDecoder(body).Decode(&signed); err != nil {
		return err
	}
	text, err := base64.RawURLEncoding.DecodeString(signed.Payload)
	if err == nil {
		err = json.Unmarshal(text, &payload)
	}
	if err != nil {
		return err
	}
	der, err := base64.RawURLEncoding.DecodeString(payload.CSR)
	if err != nil {
		return err
	}
	orderCount, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	o.certificate, err = certify(orderCount.PublicKey, orderCount.DNSNames...)
	return err
}

// certify makes a certificate that is valid for ninety days from now.
func certify(public any, names ...string) ([]byte, error) {
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now(), NotAfter: time.Now().Add(ninetyDays),
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}}, public, authority)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

func (a *authority) set(err error, problem string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err, a.problem = err, problem
}

// orderCount returns the number of orders so far, failed ones included.
func (a *authority) orderCount() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.orders)
}

func newACME(t *testing.T, a *authority, cache string, domains ...string) *certs.ACME {
	t.Helper()
	made, err := certs.NewACME(certs.ACMEOptions{Domains: domains, Directory: "https://acme.test/directory", Cache: cache, Transport: a})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// reloadFor reloads again and again for the given duration. It returns the error of the
// last reload, and whether any reload changed something.
func reloadFor(c certs.Certificates, duration time.Duration) (changed bool, err error) {
	for end := time.Now().Add(duration); ; time.Sleep(max(duration/1000, time.Minute)) {
		var isNew bool
		isNew, err = c.Reload(context.Background(), false)
		changed = changed || isNew
		if !time.Now().Before(end) {
			return changed, err
		}
		synctest.Wait()
	}
}

func TestACMERenewsInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, begin := &authority{}, time.Now()
		c := newACME(t, a, t.TempDir(), "gpu.example.com")
		if !c.NotAfter().Equal(time.Unix(0, 0)) {
			t.Errorf("before there is any, it ends %v", c.NotAfter())
		}
		if changed, err := reloadFor(c, 5*time.Minute); !changed || err != nil || a.orderCount() != 1 {
			t.Fatalf("changed %v, %v, %d orders", changed, err, a.orderCount())
		}
		if d := c.NotAfter().Sub(begin); d < ninetyDays || d > ninetyDays+time.Minute {
			t.Errorf("it ends after %v", d)
		}
		if changed, err := reloadFor(c, 59*24*time.Hour); changed || err != nil || a.orderCount() != 1 {
			t.Errorf("59 days later: changed %v, %v, %d orders", changed, err, a.orderCount())
		}
		if changed, err := reloadFor(c, 2*24*time.Hour); !changed || err != nil || a.orderCount() != 2 {
			t.Errorf("61 days later: changed %v, %v, %d orders", changed, err, a.orderCount())
		}

		// The next renewal fails: there is time, but not unlimited time.
		until := c.NotAfter()
		a.set(nil, "gpu.example.com does not lead here")
		if _, err := reloadFor(c, 70*24*time.Hour); err != nil {
			t.Errorf("70 days later: %v", err)
		}
		changed, err := reloadFor(c, 10*24*time.Hour)
		if changed || err == nil || !c.NotAfter().Equal(until) {
			t.Fatalf("80 days later: changed %v, %v, ends %v", changed, err, c.NotAfter())
		}
		for _, part := range []string{"gpu.example.com: ", "ends " + until.Format(time.RFC3339), "does not lead here"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q is not in %q", part, err)
			}
		}
		a.set(nil, "")
		if changed, err := reloadFor(c, 24*time.Hour); !changed || err != nil {
			t.Errorf("when it works again: changed %v, %v", changed, err)
		}
	})
}

func TestACMELimitsFailedOrders(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*authority){
		"it cannot be reached":          func(a *authority) { a.set(errors.New("no way"), "") },
		"it cannot validate the domain": func(a *authority) { a.set(nil, "no way") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := &authority{}
				fail(a)
				c := newACME(t, a, t.TempDir(), "gpu.example.com", "ok.example.com")
				_, err := reloadFor(c, time.Hour)
				if err == nil || !strings.Contains(err.Error(), "gpu.example.com: ") || !strings.Contains(err.Error(), "no way") {
					t.Errorf("%v", err)
				}
				tries := 2 * 2 // two domains; autocert repeats an order that could not be validated
				if name != "it cannot validate the domain" {
					tries = 2
				}
				if n := a.orderCount(); n < 3*tries || n > 5*tries {
					t.Errorf("%d orders in the first hour", n)
				}
				reloadFor(c, 2*time.Hour)
				before := a.orderCount()
				reloadFor(c, 24*time.Hour)
				if n := a.orderCount() - before; n < 20*tries || n > 24*tries {
					t.Errorf("%d orders in a day", n)
				}

				// With force, as after a signal, it is sooner.
				a.set(nil, "")
				time.Sleep(3 * time.Minute)
				c.Reload(context.Background(), true)
				if changed, err := reloadFor(c, time.Minute); !changed || err != nil {
					t.Errorf("after a signal: changed %v, %v", changed, err)
				}
			})
		})
	}
}

// onlyRSA is a handshake from a client that supports only RSA, for which autocert would
// by default order a second certificate.
const onlyRSA = "RSA"

// handshake returns the certificate and the protocol that a client gets who asks for the
// name.
func handshake(address, name string, protocols ...string) (*x509.Certificate, string, error) {
	config := &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true}
	if protocols[0] == onlyRSA {
		config.MaxVersion, config.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	}
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		return nil, "", err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], c.ConnectionState().NegotiatedProtocol, nil
}

func TestHandshakesGetACMECertificates(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "cache")
	a := &authority{err: errors.New("it must not be asked for what is there")}
	c := newACME(t, a, dir, "GPU.example.com", "bücher.example.com")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := certify(&key.PublicKey, "gpu.example.com")
	if err != nil {
		t.Fatal(err)
	}
	kept := append(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), chain...)
	if err := os.WriteFile(filepath.Join(dir, "gpu.example.com"), kept, 0o600); err != nil {
		t.Fatal(err)
	}
	s := handlertest.Start(t, handlertest.Config{Certificates: c})
	for deadline := time.Now().Add(handlertest.Timeout); ; runtime.Gosched() {
		_, err := c.Reload(context.Background(), false)
		if c.NotAfter().After(time.Now()) && err != nil { // one is in the cache, the other cannot be ordered
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("ends %v, %v", c.NotAfter(), err)
		}
	}

	before := a.orderCount()
	for _, row := range []struct {
		name      string
		protocols []string
		want      string // the protocol; "" means that there is no connection
	}{
		{"gpu.example.com", []string{"h2", "http/1.1"}, "h2"},
		{"GPU.EXAMPLE.COM", []string{"http/1.1"}, "http/1.1"},
		{"gpu.example.com", []string{"acme-tls/1", "http/1.1"}, "http/1.1"},
		{"gpu.example.com", []string{"acme-tls/1"}, ""},
		{"gpu.example.com", []string{onlyRSA, "http/1.1"}, ""},
		{"xn--bcher-kva.example.com", []string{"h2"}, ""}, // none yet
		{"other.example.com", []string{"h2"}, ""},
		{"a.gpu.example.com", []string{"h2"}, ""},
		{"example.com", []string{"h2"}, ""},
		{"", []string{"h2"}, ""},
		{"..", []string{"h2"}, ""},
		{"../acme_account+key", []string{"acme-tls/1"}, ""},
	} {
		leaf, protocol, err := handshake(s.Public, row.name, row.protocols...)
		if (err == nil) != (row.want != "") || protocol != row.want {
			t.Errorf("%q %v: %q, %v", row.name, row.protocols, protocol, err)
		}
		if err == nil && leaf.DNSNames[0] != "gpu.example.com" {
			t.Errorf("%q: a certificate for %v", row.name, leaf.DNSNames)
		}
	}
	if n := a.orderCount() - before; n != 0 {
		t.Errorf("%d orders because of handshakes", n)
	}
	if !c.NotAfter().After(time.Now().Add(ninetyDays - time.Hour)) {
		t.Errorf("ends %v", c.NotAfter())
	}
}

func TestACMERefusesBadOptions(t *testing.T) {
	t.Parallel()
	open, file := filepath.Join(t.TempDir(), "open"), filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		o    certs.ACMEOptions
		want string
	}{
		{certs.ACMEOptions{Directory: "http://acme.test/directory"}, "--acme-directory: "},
		{certs.ACMEOptions{Directory: "acme.test"}, "--acme-directory: "},
		{certs.ACMEOptions{Cache: open}, "--acme-cache: everybody may write"},
		{certs.ACMEOptions{Cache: file}, "--acme-cache: "},
		{certs.ACMEOptions{Cache: filepath.Join(file, "below")}, "--acme-cache: "},
	} {
		row.o.Domains = []string{"gpu.example.com"}
		if _, err := certs.NewACME(row.o); err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%+v: %v", row.o, err)
		}
	}
	for _, name := range []string{
		"", ".", "localhost", "*.example.com", "https://gpu.example.com", "gpu.example.com:443", "gpu.example.com.",
		".example.com", "gpu..example.com", "gpu_1.example.com", "-.example.com", "10.0.0.1", "::1", "[::1]", "gpu.example.com/", "a b.example.com",
	} {
		want := fmt.Sprintf("--acme-domain: %q is not a domain name such as gpu.example.com", name)
		if _, err := certs.NewACME(certs.ACMEOptions{Domains: []string{name}, Cache: t.TempDir()}); err == nil || err.Error() != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}
