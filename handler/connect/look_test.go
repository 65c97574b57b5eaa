package connect_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/connect"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/handler/local"
	"github.com/ollama-proxy/ollama-proxy/handler/standin"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// looked serves a connector until it has looked at its remote, and returns what it
// logged of that.
func looked(t *testing.T, o connect.Options, remote string) string {
	t.Helper()
	var err error
	if o.Remote, _, err = connect.ParseRemote(remote, false); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 10)
	o.Log = slog.New(slog.NewTextHandler(lineWriter(found), nil))
	h, err := connect.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := local.ListenLoopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		connect.Serve(ctx, h, l, 0)
	}()
	line := handlertest.Await(t, found, "a line in the log")
	stop()
	handlertest.Await(t, over, "Serve to return")
	if len(found) != 0 {
		t.Errorf("more than one line: then %s", <-found)
	}
	if strings.Contains(line, o.Key[len(o.Key)-43:]) || strings.Contains(line, "OLLAMA-0") {
		t.Errorf("the log shows a key: %s", line)
	}
	return line
}

type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// TestConnectSaysWhatTheRemoteIs, in one line.
func TestConnectSaysWhatTheRemoteIs(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	labelled, err := signer.Restrict(s.Key, signer.Caveat{Name: "label", Value: "alice"}, signer.Caveat{Name: "exp", Value: "4102444800"})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, _ := signer.Restrict(s.Key, signer.Caveat{Name: "from", Value: "192.0.2.0/24"})
	answering := func(status int, headers http.Header, body string) string {
		remote := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for name, values := range headers {
				w.Header()[name] = values
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}))
		t.Cleanup(remote.Close)
		return remote.URL
	}
	overTLS := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(overTLS.Close)
	overTLS.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	own := connectKey(t)
	for name, tt := range map[string]struct {
		o      connect.Options
		remote string
		want   []string
	}{
		"good":                  {connect.Options{Key: labelled}, "http://" + s.Public, []string{"level=INFO", "accepts the key", "label=alice", "until=2100-01-01T00:00:00Z", "id="}},
		"without label and end": {connect.Options{Key: s.Key}, "http://" + s.Public, []string{"level=INFO", "accepts the key", `until="no end"`}},
		"good, elsewhere":       {connect.Options{Key: elsewhere}, "http://" + s.Public, []string{"level=WARN", "accepts the key, but", "not for use from your address"}},
		"refused":               {connect.Options{Key: own}, "http://" + s.Public, []string{"level=WARN", "refuses the key", `answer="missing or invalid API key"`}},
		"no such name":          {connect.Options{Key: s.Admin, Upstream: "big"}, "http://" + s.Public, []string{"level=WARN", "accepts the key, but", "no Ollama has that name"}},
		"an Ollama":             {connect.Options{Key: own}, "http://" + s.Upstream, []string{"level=WARN", "without a key", "an Ollama without a proxy"}},
		"another program":       {connect.Options{Key: own}, answering(200, nil, "<html>"), []string{"level=WARN", "not as an Ollama does"}},
		"below a path":          {connect.Options{Key: own}, answering(404, nil, "") + "/api", []string{"level=WARN", "does it go without /api?"}},
		"Basic auth":            {connect.Options{Key: own}, answering(401, http.Header{"Www-Authenticate": {"Basic"}}, ""), []string{"level=WARN", "something else in front"}},
		"a redirect": {connect.Options{Key: own}, answering(301, http.Header{"Location": {"https://gpu.example/below/api/version"}}, ""),
			[]string{"level=WARN", "redirects to https://gpu.example/below:"}},
		"not ready":                      {connect.Options{Key: own}, answering(503, nil, ""), []string{"level=WARN", "not ready", "serving all the same"}},
		"down":                           {connect.Options{Key: own}, "http://" + handlertest.ClosedAddress, []string{"level=WARN", "cannot be reached (connection refused)", "serving all the same"}},
		"plain http":                     {connect.Options{Key: own}, "https://" + s.Public, []string{"level=WARN", "TLS fails", "speaks plain http"}},
		"TLS":                            {connect.Options{Key: own}, strings.Replace(overTLS.URL, "https:", "http:", 1), []string{"level=WARN", "speaks TLS: write https://"}},
		"an authority that nobody knows": {connect.Options{Key: own}, overTLS.URL, []string{"level=WARN", "TLS fails", "does not know the authority", "SSL_CERT_FILE"}},
	} {
		line := looked(t, tt.o, tt.remote)
		for _, want := range tt.want {
			if !strings.Contains(line, want) {
				t.Errorf("%s: %q is not in %s", name, want, line)
			}
		}
	}
}

// TestConnectSaysWhyTLSFails with certificates of an authority that it knows.
func TestConnectSaysWhyTLSFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		dns        string
		start, end time.Duration // from now
		want       string
	}{
		"wrong name": {"other.example", -time.Hour, time.Hour, "is for other.example, not for 127.0.0.1"},
		"expired":    {"127.0.0.1", -2 * time.Hour, -time.Hour, "expired at "},
		"not yet":    {"127.0.0.1", time.Hour, 2 * time.Hour, "is not valid before "},
	} {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
			NotBefore: time.Now().Add(tt.start), NotAfter: time.Now().Add(tt.end),
		}
		if ip := net.ParseIP(tt.dns); ip != nil {
			template.IPAddresses = []net.IP{ip}
		} else {
			template.DNSNames = []string{tt.dns}
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
		if err != nil {
			t.Fatal(err)
		}
		remote := httptest.NewUnstartedServer(http.NotFoundHandler())
		remote.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		remote.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}
		remote.StartTLS()
		t.Cleanup(remote.Close)
		roots := x509.NewCertPool()
		known, _ := x509.ParseCertificate(der)
		roots.AddCert(known)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
		if line := looked(t, connect.Options{Key: connectKey(t), Transport: transport}, remote.URL); !strings.Contains(line, tt.want) {
			t.Errorf("%s: %s", name, line)
		}
	}
}

// TestConnectServesWhileTheRemoteHangs: a request waits for the look, and then goes its
// way; the port is open in any case.
func TestConnectServesWhileTheRemoteHangs(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	once := sync.OnceFunc(func() { close(asked) })
	remote := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		once()
		<-r.Context().Done()
	}))
	t.Cleanup(func() {
		remote.CloseClientConnections()
		remote.Close()
	})
	c := connectTo(t, remote.URL, connectKey(t), 0, nil)
	handlertest.Await(t, asked, "the look")
	if a := c.ask(t, "GET", "/api/tags", "", "Host: evil.example"); a.Status != http.StatusForbidden {
		t.Error(a)
	}
}

// lateKeys is a clock for a proxy that can be put forward.
type lateKeys struct {
	handler.KeyVerifier
	ahead atomic.Int64
}

func (k *lateKeys) Verify(text string, now time.Time) (signer.Key, error) {
	return k.KeyVerifier.Verify(text, now.Add(time.Duration(k.ahead.Load())))
}

// TestConnectAStreamOutlivesItsKey: the proxy looks for keys to cut while one runs whose
// key has expired.
func TestConnectAStreamOutlivesItsKey(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	keys := new(lateKeys)
	s := handlertest.Start(t, handlertest.Config{Ollama: standin.Options{Step: step}, Proxy: func(o *handler.Options) {
		keys.KeyVerifier = o.Keys
		o.Keys = keys
	}})
	c := connectTo(t, "http://"+s.Public, s.Key, 0, nil)
	w := handlertest.Dial(t, c.address)
	connectSend(w, "POST", "/api/chat", handlertest.Chats[0].Ask("tiny", true))
	res := w.ReadHead("POST")
	keys.ahead.Store(int64(time.Hour))
	s.Proxy.CutRevoked()
	close(step)
	if text, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(text), `"done":true`) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// TestConnectNamesAnOllama: what ollama create sends goes to that one, and so does all
// else.
func TestConnectNamesAnOllama(t *testing.T) {
	t.Parallel()
	small, big := handlertest.NewBox(t, "small", standin.Options{}), handlertest.NewBox(t, "big", standin.Options{})
	s := handlertest.StartPool(t, handlertest.Config{}, small, big)
	u, _, err := connect.ParseRemote("http://"+s.Public, false)
	if err != nil {
		t.Fatal(err)
	}
	h, err := connect.New(connect.Options{Remote: u, Key: s.Admin, Upstream: "big", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path, body string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
		r.Header.Set("X-Ollama-Proxy-Upstream", "small")
		h.ServeHTTP(w, r)
		return w.Code
	}
	blob := "weights"
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(blob)))
	for _, r := range []struct {
		method, path, body string
		want               int
	}{
		{"HEAD", "/api/blobs/" + digest, "", 404},
		{"POST", "/api/blobs/" + digest, blob, 201},
		{"POST", "/api/create", fmt.Sprintf(`{"model":"mine","files":{"a.gguf":%q},"stream":false}`, digest), 200},
		{"POST", "/api/chat", handlertest.ForModel("tiny"), 200},
	} {
		if code := ask(r.method, r.path, r.body); code != r.want {
			t.Errorf("%s %s: %d", r.method, r.path, code)
		}
	}
	if small.Requests() != 0 || big.Requests() < 4 {
		t.Errorf("%d went to the other one, %d to the one that was named", small.Requests(), big.Requests())
	}

	for name, o := range map[string]connect.Options{
		"no ADMIN key":  {Key: s.Key, Upstream: "big"},
		"a URL":         {Key: s.Admin, Upstream: "http://10.0.0.5:11434"},
		"two headers":   {Key: s.Admin, Upstream: "big\r\nX-Mine: yes"},
		"half a header": {Key: s.Admin, Upstream: "big small"},
	} {
		o.Remote = u
		if h, err := connect.New(o); h != nil || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
