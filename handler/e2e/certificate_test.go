package e2e_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/ollama-proxy/ollama-proxy/handler/certs"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
)

// issue writes a certificate for 127.0.0.1 with the serial number, and its
// key, into a directory.
func issue(t *testing.T, dir string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: "test"},
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Duration(serial) * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile:  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// tlsClient speaks HTTP/2 on connections of its own, and tells the serial
// number of the certificate that it saw last.
func tlsClient(t *testing.T) (client *http.Client, serial func() int64) {
	var seen *big.Int
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, // the test looks at the certificate itself
		VerifyConnection: func(s tls.ConnectionState) error {
			seen = s.PeerCertificates[0].SerialNumber
			return nil
		},
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}, func() int64 { return seen.Int64() }
}

func TestStreamsOverHTTP2AndANewCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificate, err := certs.LoadCertificate(issue(t, dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	step := make(chan struct{})
	s := handlertest.Start(t, handlertest.Config{Ollama: standin.Options{Step: step}, Certificates: certificate})
	ask := func(client *http.Client, model string) *http.Response {
		t.Helper()
		r, _ := http.NewRequest("POST", "https://"+s.Public+"/v1/chat/completions", strings.NewReader(handlertest.Chats[2].Ask(model, true)))
		r.Header.Set("Authorization", "Bearer "+s.Key)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}

	client, serial := tlsClient(t)
	res := ask(client, "llama3.2")
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); err != nil || res.ProtoMajor != 2 || serial() != 1 || !strings.HasPrefix(line, "data: ") {
		t.Fatalf("HTTP/%d, certificate %d, %q, %v", res.ProtoMajor, serial(), line, err)
	}

	// A new certificate does not disturb the stream.
	issue(t, dir, 2)
	if changed, err := certificate.Reload(context.Background(), false); !changed || err != nil {
		t.Fatalf("%v, %v", changed, err)
	}
	if changed, err := certificate.Reload(context.Background(), false); changed || err != nil {
		t.Errorf("the same again: %v, %v", changed, err)
	}
	other, newSerial := tlsClient(t)
	r, _ := http.NewRequest("GET", "https://"+s.Public+"/api/version", nil)
	r.Header.Set("Authorization", "Bearer "+s.Key)
	if got, err := other.Do(r); err != nil || got.StatusCode != 200 || newSerial() != 2 {
		t.Errorf("%v, %v, certificate %d", got, err, newSerial())
	}
	close(step)
	if rest, err := io.ReadAll(lines); err != nil || !strings.Contains(string(rest), "data: [DONE]") {
		t.Errorf("the stream ends with %q, %v", rest, err)
	}

	// A stream that dies does so visibly over HTTP/2, too.
	dying := ask(client, "dies-between")
	if rest, err := io.ReadAll(dying.Body); err == nil || !strings.Contains(string(rest), "Ollama broke off its answer") || strings.Contains(string(rest), "[DONE]") {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestLeavingOverHTTP2(t *testing.T) {
	t.Parallel()
	certificate, err := certs.LoadCertificate(issue(t, t.TempDir(), 1))
	if err != nil {
		t.Fatal(err)
	}
	s := handlertest.Start(t, handlertest.Config{Certificates: certificate})
	client, _ := tlsClient(t)
	ctx, leave := context.WithCancel(context.Background())
	r, _ := http.NewRequestWithContext(ctx, "POST", "https://"+s.Public+"/api/chat", strings.NewReader(handlertest.Chats[0].Ask("hang", true)))
	r.Header.Set("Authorization", "Bearer "+s.Key)
	failed := make(chan error, 1)
	go func() {
		_, err := client.Do(r)
		failed <- err
	}()
	seen := s.AwaitRequest(t, 1)
	leave()
	handlertest.Await(t, seen.Gone, "Ollama to be let go")
	if err := handlertest.Await(t, failed, "the client to fail"); err == nil {
		t.Error("an answer, after all")
	}
	if code := s.Spy.Ended(t, 1); code != 499 {
		t.Errorf("recorded as %d", code)
	}
}

func TestBadCertificateIsNotLoaded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := issue(t, dir, 1)
	certificate, err := certs.LoadCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	until := certificate.NotAfter()
	other, _ := issue(t, t.TempDir(), 2)
	half, _ := os.ReadFile(other)
	for name, content := range map[string][]byte{"empty": nil, "no PEM": []byte("hello"), "another key's": half} {
		if err := os.WriteFile(certFile, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if changed, err := certificate.Reload(context.Background(), true); changed || err == nil {
			t.Errorf("%s: changed %v, %v", name, changed, err)
		}
		if !certificate.NotAfter().Equal(until) {
			t.Errorf("%s: taken", name)
		}
		if _, err := certs.LoadCertificate(certFile, keyFile); err == nil {
			t.Errorf("%s: loaded at the start", name)
		}
	}
}

// A connection keeps a buffer of the size of its largest frame: nobody without a
// key may make that large.
func TestLargeFramesOfHTTP2AreRefused(t *testing.T) {
	t.Parallel()
	certificate, err := certs.LoadCertificate(issue(t, t.TempDir(), 1))
	if err != nil {
		t.Fatal(err)
	}
	s := handlertest.Start(t, handlertest.Config{Certificates: certificate})
	for size, want := range map[uint32]http2.ErrCode{16 << 10: http2.ErrCodeProtocol, 16<<10 + 1: http2.ErrCodeFrameSize} {
		c, err := tls.Dial("tcp", s.Public, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(handlertest.Timeout))
		io.WriteString(c, http2.ClientPreface)
		frames := http2.NewFramer(c, c)
		frames.WriteSettings()
		// Data of a stream that does not exist.
		frames.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, size))
		for {
			f, err := frames.ReadFrame()
			if err != nil {
				t.Fatalf("a frame of %d bytes: %v", size, err)
			}
			if end, ok := f.(*http2.GoAwayFrame); ok {
				if end.ErrCode != want {
					t.Errorf("a frame of %d bytes: %v", size, end.ErrCode)
				}
				break
			}
		}
	}
}

// TestSpaceInAQuery: HTTP/2 can send a space in a query, which HTTP/1.1 would read as
// its end.
func TestSpaceInAQuery(t *testing.T) {
	t.Parallel()
	certificate, err := certs.LoadCertificate(issue(t, t.TempDir(), 1))
	if err != nil {
		t.Fatal(err)
	}
	s := handlertest.Start(t, handlertest.Config{Certificates: certificate})
	client, _ := tlsClient(t)
	r, _ := http.NewRequest("GET", "https://"+s.Public+"/api/version", nil)
	r.URL.RawQuery = "a HTTP/1.1 b"
	r.Header.Set("Authorization", "Bearer "+s.Key)
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ProtoMajor != 2 || res.StatusCode != 200 {
		t.Fatalf("HTTP/%d, %s", res.ProtoMajor, res.Status)
	}
	if got := s.AwaitRequest(t, 1).URI; got != "/api/version?a%20HTTP/1.1%20b" {
		t.Errorf("Ollama saw %s", got)
	}
}
