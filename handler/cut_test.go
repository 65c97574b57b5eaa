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

// keysThatChange are good for one look.
type keysThatChange struct {
	looks int
	after func() // called when the first look has found the key good
}

func (k *keysThatChange) Verify(string, time.Time) (signer.Key, error) {
	if k.looks++; k.looks > 1 {
		return signer.Key{}, signer.ErrRevoked
	}
	k.after()
	return signer.Key{}, nil
}

func (*keysThatChange) Expires(*signer.Key) time.Time { return time.Time{} }

// quiet is a Recorder for a request that is refused.
type quiet struct{ Recorder }

func (quiet) RequestStarted(int) {}

func (quiet) Refused(string) {}

func (quiet) KeySeen(_, _ [16]byte, _ []byte) int { return 0 }

func (quiet) UpstreamJoined(string) int { return 0 }

func (quiet) RequestEnded(int, string, int, time.Duration) {}

// upstreamFunc is an Ollama.
type upstreamFunc func(*http.Request) (*http.Response, error)

func (f upstreamFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestAKeyRevokedWhileItIsVerified: the request has not joined those that run
// when revoked keys are cut, and must not get by.
func TestAKeyRevokedWhileItIsVerified(t *testing.T) {
	keys := &keysThatChange{}
	p := New(Options{
		Upstream: &url.URL{Scheme: "http", Host: "ollama"},
		Keys:     keys,
		Recorder: quiet{},
		Log:      slog.New(slog.DiscardHandler),
		Transport: upstreamFunc(func(*http.Request) (*http.Response, error) {
			t.Error("it reached Ollama")
			return nil, http.ErrServerClosed
		}),
	})
	keys.after = p.CutRevoked
	r := httptest.NewRequest(http.MethodGet, "/api/tags", nil)
	r.Header.Set("Authorization", "Bearer key")
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("status %d", w.Code)
	}
}
