package connect_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/connect"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// checking is a transport to a remote that checks keys by a clock of its own.
type checking struct {
	*signer.Verifier
	ahead time.Duration // of our clock
	timer func() string // its Date, if not the time
	down  bool
	asked int      // without a key
	keys  []string // with which it was asked, in a row of different ones
}

func (c *checking) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.down {
		return nil, io.ErrUnexpectedEOF
	}
	now := time.Now().Add(c.ahead)
	w := httptest.NewRecorder()
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	if c.timer != nil {
		w.Header().Set("Date", c.timer())
	}
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if key == "" {
		c.asked++
	} else if len(c.keys) == 0 || c.keys[len(c.keys)-1] != key {
		c.keys = append(c.keys, key)
	}
	if _, err := c.Verify(key, now); err != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"error":"no such key: `+key+`"}`)
	}
	res := w.Result()
	res.Request = r
	return res, nil
}

// childSetup is a connector to a checking remote, in a bubble of synctest.
func childSetup(t *testing.T, caveats ...signer.Caveat) (remote *checking, key string, log *handlertest.SyncBuffer, ask func() int) {
	t.Helper()
	secret, _ := signer.NewSecret()
	key, err := signer.Mint(secret, false, caveats...)
	if err != nil {
		t.Fatal(err)
	}
	remote, log = &checking{Verifier: signer.NewVerifier(secret)}, &handlertest.SyncBuffer{}
	h, err := connect.New(connect.Options{
		Remote: &url.URL{Scheme: "https", Host: "proxy.example"}, Key: key, Transport: remote,
		Log: slog.New(slog.NewJSONHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return remote, key, log, func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/api/tags", nil))
		synctest.Wait() // for what a refusal sets off
		return w.Code
	}
}

// TestConnectSendsChildrenThatLiveFiveMinutes, whatever the two clocks show.
func TestConnectSendsChildrenThatLiveFiveMinutes(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"same clock": 0, "ahead": 9 * 365 * 24 * time.Hour, "behind": -9 * 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				remote, key, _, ask := childSetup(t)
				remote.ahead = ahead
				const hours = 3
				for range hours * 60 * 6 {
					if code := ask(); code != 200 {
						t.Fatalf("%d after %d keys", code, len(remote.keys))
					}
					last, err := remote.Verify(remote.keys[len(remote.keys)-1], time.Now().Add(ahead))
					if left := last.Limits.Expires().Sub(time.Now().Add(ahead)); err != nil || left > 5*time.Minute || left < 2*time.Minute {
						t.Fatalf("a key that lives for %v, %v", left, err)
					}
					time.Sleep(10 * time.Second)
				}
				if slices.Contains(remote.keys, key) {
					t.Error("the key itself was sent")
				}
				if n := len(remote.keys); n > hours*60/2+1 {
					t.Errorf("%d keys in %d hours: one every few minutes is enough", n, hours)
				}
				if remote.asked > hours+1 {
					t.Errorf("asked for the time %d times in %d hours", remote.asked, hours)
				}
			})
		})
	}
}

// TestConnectWhenTheRemotesClockIsSet costs one request at most.
func TestConnectWhenTheRemotesClockIsSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote, key, _, ask := childSetup(t)
		ask()
		remote.ahead = 48 * time.Hour
		if first, second := ask(), ask(); first != 401 || second != 200 || slices.Contains(remote.keys, key) {
			t.Errorf("%d, then %d", first, second)
		}
	})
}

// TestConnectSendsTheKeyAsItIs where no child can be made, or none would be taken.
func TestConnectSendsTheKeyAsItIs(t *testing.T) {
	t.Parallel()
	full := slices.Repeat([]signer.Caveat{{Name: "rpm", Value: "60"}}, 16)
	long := slices.Repeat([]signer.Caveat{{Name: "label", Value: strings.Repeat("x", 97)}}, 14)
	for name, tt := range map[string]struct {
		caveats []signer.Caveat
		date    string
		said    string
	}{
		"sixteen caveats": {full, "", "no room for one caveat more"},
		"2,048 bytes":     {long, "", "no room for one caveat more"},
		"no date":         {nil, "none", "does not tell the time"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				remote, key, log, ask := childSetup(t, tt.caveats...)
				if tt.date != "" {
					remote.timer = func() string { return tt.date }
				}
				for range 100 {
					if code := ask(); code != 200 {
						t.Fatal(code)
					}
					time.Sleep(time.Minute)
				}
				if len(remote.keys) != 1 || remote.keys[0] != key {
					t.Errorf("%d keys were sent", len(remote.keys))
				}
				if text, _ := log.Text(); strings.Count(text, tt.said) != 1 || strings.Count(text, "\n") != 1 {
					t.Errorf("logged: %s", text)
				}
			})
		})
	}
}

// TestConnectAKeyThatIsRevoked after it was good is told once, and does not make the
// connector ask time and again.
func TestConnectAKeyThatIsRevoked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote, key, log, ask := childSetup(t)
		ask()
		about, _ := signer.Inspect(key)
		list, err := signer.ParseRevocations(strings.NewReader(about.ID.String()))
		if err != nil {
			t.Fatal(err)
		}
		remote.SetRevocations(list)
		for range 50 {
			if code := ask(); code != 401 {
				t.Error(code)
			}
			time.Sleep(time.Second)
		}
		text, _ := log.Text()
		if strings.Count(text, "refuses the key") != 1 || remote.asked > 3 {
			t.Errorf("asked %d times, logged: %s", remote.asked, text)
		}
		if strings.Contains(text, "OLLAMA-") {
			t.Errorf("the log quotes the remote, and with it the key: %s", text)
		}
		remote.SetRevocations(nil)
		time.Sleep(2 * time.Minute)
		if ask(); ask() != 200 || remote.keys[len(remote.keys)-1] == key {
			t.Error("the key is good again, and no child of it is sent")
		}
	})
}

// TestConnectARemoteThatComesBack is looked at again.
func TestConnectARemoteThatComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		remote, key, log, ask := childSetup(t)
		remote.down = true
		for range 10 {
			if code := ask(); code != http.StatusBadGateway {
				t.Error(code)
			}
			time.Sleep(time.Minute)
		}
		remote.down = false
		if code := ask(); code != 200 || slices.Contains(remote.keys, key) {
			t.Errorf("%d; the key itself was sent: %t", code, slices.Contains(remote.keys, key))
		}
		text, _ := log.Text()
		if strings.Count(text, "cannot be asked") != 1 || strings.Count(text, "the remote accepts the key") != 1 {
			t.Errorf("logged: %s", text)
		}
	})
}
