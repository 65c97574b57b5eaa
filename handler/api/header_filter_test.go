package api

import (
	"net/http"
	"testing"
)

const someKey = "OLLAMA-0199c3a1-8f60-7d4e-9c55-2b1f3a8e7d60.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// TestNoKeyReachesOllama, in whichever header it is.
func TestNoKeyReachesOllama(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	for _, name := range []string{"Authorization", "X-Api-Key", "X-Auth-Token", "X_api_key", "Openai-Api-Key", "User-Agent", "Traceparent", "X-Request-Id", "Referer"} {
		h[name] = []string{"harmless", "Bearer " + someKey}
	}
	h["Accept"] = []string{"*/*"}
	StripRequestHeaders(h)
	if len(h) != 2 || h["Accept"][0] != "*/*" || h["User-Agent"] != nil {
		t.Errorf("left are %v", h)
	}
}

// TestWithoutKeys: a query passes as it is, or not at all.
func TestWithoutKeys(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"":                      "",
		"a=1&b=%20":             "a=1&b=%20",
		"key=" + someKey:        "",
		"a=1&key=OLLAMA%2D0199": "",
		"key=%4fLLAMA-0199":     "",
		"%zz&%00&\\":            "%zz&%00&\\",
		"%zz&%4FLLAMA-":         "",
		"OLLAMA%2":              "OLLAMA%2",
	} {
		if got := WithoutKeys(query); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}
