package local_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler/local"
)

// TestLocalOrigins holds Ollama's own list, and what looks like an entry of it.
func TestLocalOrigins(t *testing.T) {
	t.Parallel()
	var own []string
	for _, host := range []string{"localhost", "127.0.0.1", "0.0.0.0"} {
		for _, scheme := range []string{"http", "https"} {
			own = append(own, fmt.Sprintf("%s://%s", scheme, host), fmt.Sprintf("%s://%s:65535", scheme, host))
		}
	}
	own = append(own, "app://x", "file://", "tauri://localhost", "vscode-webview://x", "vscode-file://vscode-app")
	for _, origin := range own {
		if !local.IsLocalOrigin(origin) {
			t.Errorf("%q is not local", origin)
		}
		for _, other := range []string{"x" + origin, strings.Replace(origin, "://", ":/", 1), strings.Replace(origin, "://", ":", 1), " " + origin} {
			if local.IsLocalOrigin(other) {
				t.Errorf("%q is local", other)
			}
		}
		if !strings.HasPrefix(origin, "http") {
			continue
		}
		for _, end := range []string{".evil.example", "@evil.example", "/", "/path", "?x", "#x", "x"} {
			if other := origin + end; local.IsLocalOrigin(other) {
				t.Errorf("%q is local", other)
			}
		}
	}
	for _, origin := range []string{"", "null", "*", "://", "http://", "https://evil.example", "http://evil.example:11434", "http://10.0.0.1", "http://[fe80::1]", "chrome-extension://x", "file://evil, http://x", "app://x\xff", "app://a b", "tauri://x\n", "safari-web-extension://x"} {
		if local.IsLocalOrigin(origin) {
			t.Errorf("%q is local", origin)
		}
	}
}

// TestContainersOwnNames are those of a list, not of a pattern.
func TestContainersOwnNames(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"host.docker.internal": true, "host.docker.internal:11434": true, "HOST.docker.internal.": true,
		"gateway.docker.internal": true, "host.containers.internal:1": true,
		"docker.internal": false, "x.host.docker.internal": false, "host.docker.internal.example": false, "hostXdocker.internal": false, "db.internal": false, "desk.local": false, "connect": false,
	} {
		r := httptest.NewRequest("GET", "http://localhost/api/tags", nil)
		r.Host = host
		if err := local.CheckLoopback(r); (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
}
