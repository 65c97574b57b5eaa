package handler

import (
	"net/http"
	"strings"
	"testing"
)

// TestCleanPath: words stay, and whatever could be a secret does not.
func TestCleanPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/v1/v1/chat/completions": "/v1/v1/chat/completions",
		"/api/web_search":         "/api/web_search",
		"/":                       "/",
		"//api//tags/":            "/api//tags",
		"/v1/images/Generations":  "/v1/images/*",
		"/files/secret123":        "/files/*",
		"/OLLAMA-0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60.x": "/*",
		"/a\nb/ü/%2e/a b":             "/*/*/*/*",
		"/" + strings.Repeat("a", 25): "/*",
		"/a/b/c/d/e/f/g/h/i/j":        "/a/b/c/d/e/f/g/h",
		"/v1/v12/vx":                  "/v1/*/vx",
	} {
		if got := cleanPath(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

// TestTraceOf reads what W3C Trace Context allows, and nothing else.
func TestTraceOf(t *testing.T) {
	t.Parallel()
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for value, want := range map[string]string{
		"00-" + id + "-00f067aa0ba902b7-01":                      id,
		"01-" + id + "-00f067aa0ba902b7-01-more":                 id,
		"ff-" + id + "-00f067aa0ba902b7-01":                      "",
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01": "",
		"00-" + strings.ToUpper(id) + "-00f067aa0ba902b7-01":     "",
		"00-" + id[1:] + "-00f067aa0ba902b7-01":                  "",
		"00-" + id:                                               "",
		"":                                                       "",
		"00-" + id[:31] + "\n-00f067aa0ba902b7-01":               "",
	} {
		if got := traceOf(http.Header{"Traceparent": {value}}); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
	if got := traceOf(http.Header{"Traceparent": {"00-" + id + "-00f067aa0ba902b7-01", "00-" + id + "-00f067aa0ba902b7-01"}}); got != "" {
		t.Errorf("of two: %q", got)
	}
}
