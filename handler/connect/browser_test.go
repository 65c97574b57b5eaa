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

	"github.com/ollama-proxy/ollama-proxy/handler/connect"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
)

// TestConnectAnswersPreflights sends what Chromium sends before a page's request.
func TestConnectAnswersPreflights(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	c := connectTo(t, "http://"+s.Public, s.Key, 0, nil)
	preflight := func(origin, site string) handlertest.Answer {
		return c.ask(t, "OPTIONS", "/v1/chat/completions", "", "Origin: "+origin, "Sec-Fetch-Site: "+site, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty",
			"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,x-stainless-os,x-stainless-retry-count")
	}
	for _, origin := range []string{
		"http://localhost:3000", "https://127.0.0.1", "http://0.0.0.0:8080", "app://obsidian.md", "file://", "tauri://localhost", "vscode-webview://0f3k1", "vscode-file://vscode-app",
	} {
		a := preflight(origin, "cross-site")
		h := a.Header
		if a.Status != 204 || h.Get("Access-Control-Allow-Origin") != origin || h.Get("Access-Control-Allow-Credentials") != "" ||
			h.Get("Access-Control-Allow-Headers") != "authorization,content-type,x-stainless-os,x-stainless-retry-count" {
			t.Errorf("%s: %v %v", origin, a, h)
		}
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} { // Ollama's
			if !slices.Contains(strings.Split(h.Get("Access-Control-Allow-Methods"), ", "), method) {
				t.Errorf("%s may not %s", origin, method)
			}
		}
		for _, r := range []struct {
			path   string
			status int
		}{{"/api/tags", 200}, {"/api/nothing", 404}} {
			a := c.ask(t, "GET", r.path, "", "Origin: "+origin, "Sec-Fetch-Site: cross-site")
			if a.Status != r.status || !slices.Equal(a.Header["Access-Control-Allow-Origin"], []string{origin}) || !slices.Contains(a.Header["Vary"], "Origin") {
				t.Errorf("%s by %s: %v %v", r.path, origin, a, a.Header)
			}
		}
	}
	for _, origin := range []string{"https://evil.example", "null", "chrome-extension://abc", "http://localhost.evil.example", "http://192.168.1.2:3000"} {
		if a := preflight(origin, "cross-site"); a.Status != 403 || a.Header["Access-Control-Allow-Origin"] != nil {
			t.Errorf("%s: %v %v", origin, a, a.Header)
		}
	}
	if a := c.ask(t, "GET", "/api/tags", ""); a.Header["Access-Control-Allow-Origin"] != nil {
		t.Errorf("without an origin: %v", a.Header)
	}
}

// TestConnectAnswersBrowsersOnce: a remote that allows pages, too, does not make a
// browser see two answers.
func TestConnectAnswersBrowsersOnce(t *testing.T) {
	t.Parallel()
	remote := httptest.NewServer(remoteOf(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		io.WriteString(w, "{}")
	}))
	t.Cleanup(remote.Close)
	c := connectTo(t, remote.URL, connectKey(t), 0, nil)
	h := c.ask(t, "GET", "/api/tags", "", "Origin: http://localhost:3000").Header
	if !slices.Equal(h["Access-Control-Allow-Origin"], []string{"http://localhost:3000"}) || h["Access-Control-Allow-Credentials"] != nil {
		t.Errorf("with a page: %v", h)
	}
	if h := c.ask(t, "GET", "/api/tags", "").Header; h["Access-Control-Allow-Origin"] != nil {
		t.Errorf("without: %v", h)
	}
}

// TestConnectShared is reached by other machines, and still not by their web pages.
func TestConnectShared(t *testing.T) {
	t.Parallel()
	s := handlertest.Start(t, handlertest.Config{})
	h, err := connect.New(connect.Options{
		Remote: &url.URL{Scheme: "http", Host: s.Public}, Key: s.Key, Log: slog.New(slog.DiscardHandler), Shared: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		host, origin string
		want         int
	}{
		{"172.17.0.1:11434", "", 200},
		{"[fd00::1]:11434", "", 200},
		{"connect:11434", "", 200},
		{"host.docker.internal:11434", "", 200},
		{"desk.local", "", 200},
		{"localhost", "", 200},
		{"172.17.0.1:11434", "http://localhost:3000", 200},
		{"evil.example", "", 403},
		{"evil.example:11434", "", 403},
		{"172.17.0.1.evil.example", "", 403},
		{"172.17.0.1:11434", "http://evil.example", 403},
		{"172.17.0.1:11434", "http://172.17.0.1:11434", 403},
		{"connect:11434", "null", 403},
	} {
		r := httptest.NewRequest("GET", "http://localhost/api/tags", nil)
		r.Host = tt.host
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s from %q: %d", tt.host, tt.origin, w.Code)
		}
	}
}
