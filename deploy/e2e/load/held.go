//go:build unix

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/deploy/e2e/kit"
)

const (
	// maxHeld is how much memory the proxy may take for all clients without a valid key,
	// in addition to what it takes without them.
	maxHeld = 256 << 20

	// heldFor is how long each attack lasts.
	heldFor = 4 * time.Second
)

// held runs each attack of holders on a new proxy, and limits the memory that the proxy
// takes. Meanwhile it measures the answers to ordinary clients.
func held() {
	key, upstream := mint(), startUpstream(-15)
	certificate, private := selfSigned()
	for _, kind := range holders {
		if only := os.Getenv("ONLY"); only != "" && !slices.Contains(strings.Split(only, ","), kind.name) {
			continue
		}
		args := []string{"--upstream", upstream}
		if kind.secure {
			args = append(args, "--tls-cert", certificate, "--tls-key", private)
		}
		p := launch(-15, "proxy", args...)
		calls := newCalls(p.Address, key)
		for _, c := range calls.callers {
			c.secure = kind.secure
		}
		calm := calls.measure(time.Second)
		before := p.settled()
		r := startAttack(kind, p.Address, key)
		r.await("ready")
		hit := calls.measure(heldFor)
		took := p.Peak() - before.resident
		at := p.Resident()
		said := r.end()
		calls.hangUp()
		kit.Pass("%-24s %s at most, %s at the end; p50 %s > %s, p99 %s > %s; %s", kind.name, mega(took), mega(at-before.resident), milli(calm.p50), milli(hit.p50), milli(calm.p99), milli(hit.p99), said)
		if took > maxHeld {
			kit.Fatal("clients without a key make the proxy hold %s", mega(took))
		}
		p.Stop()
	}
	checkBombs(upstream)
}

// selfSigned makes a self-signed certificate, and returns the paths of its files.
func selfSigned() (certificate, private string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	kit.Must(err, "a key")
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"proxy"}}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	kit.Must(err, "a certificate")
	der, err := x509.MarshalPKCS8PrivateKey(key)
	kit.Must(err, "a key")
	certificate, private = filepath.Join(kit.Dir, "tls.crt"), filepath.Join(kit.Dir, "tls.key")
	kit.WriteFile(certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})))
	kit.WriteFile(private, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return certificate, private
}
