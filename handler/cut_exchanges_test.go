package handler

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// keysRevokedMeanwhile is a KeyVerifier for which every key is valid once, and revoked
// afterwards.
type keysRevokedMeanwhile struct {
	calls      int
	afterFirst func() // called by the first Verify
}

func (k *keysRevokedMeanwhile) Verify(string, time.Time) (signer.Key, error) {
	if k.calls++; k.calls > 1 {
		return signer.Key{}, signer.ErrRevoked
	}
	k.afterFirst()
	return signer.Key{}, nil
}

func (*keysRevokedMeanwhile) Expires(*signer.Key) time.Time { return time.Time{} }

// quietRecorder ignores the events of a request that is refused.
type quietRecorder struct{ Recorder }

func (quietRecorder) RequestStarted(int) {}

func (quietRecorder) Refused(string) {}

func (quietRecorder) KeySeen(_, _ [16]byte, _ []byte) int { return 0 }

func (quietRecorder) UpstreamJoined(string) int { return 0 }

func (quietRecorder) RequestEnded(int, string, int, time.Duration) {}

// upstreamFunc is a function as a RoundTripper to Ollama.
type upstreamFunc func(*http.Request) (*http.Response, error)

func (f upstreamFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestKeyRevokedWhileItIsVerified: the request is not in the running set yet when
// CutRevoked runs, and must be refused all the same.
func TestKeyRevokedWhileItIsVerified(t *testing.T) {
	keys := &keysRevokedMeanwhile{}
	p := New(Options{
		Upstream: &url.URL{Scheme: "http", Host: "ollama"},
		Keys:     keys,
		Recorder: quietRecorder{},
		Log:      slog.New(slog.DiscardHandler),
		Transport: upstreamFunc(func(*http.Request) (*http.Response, error) {
			t.Error("the request reached Ollama")
			return nil, http.ErrServerClosed
		}),
	})
	keys.afterFirst = p.CutRevoked
	r := httptest.NewRequest(http.MethodGet, "/api/tags", nil)
	r.Header.Set("Authorization", "Bearer key")
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("status %d", w.Code)
	}
}
