package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/ollama-proxy/ollama-proxy/handler"
	"github.com/ollama-proxy/ollama-proxy/handler/endpoint"
	"github.com/ollama-proxy/ollama-proxy/handler/handlertest"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// TestRealOllama tries the main routes on the Ollama at OLLAMA_HOST, with the smallest
// model it has.
func TestRealOllama(t *testing.T) {
	host := os.Getenv("OLLAMA_HOST")
	if host == "" {
		t.Skip("OLLAMA_HOST is not set: nothing was tried against a real Ollama")
	}
	upstream, err := endpoint.ParseURL(host)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := signer.NewSecret()
	key, err := signer.Mint(secret, false)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(handler.New(handler.Options{
		Upstream: upstream,
		Keys:     signer.NewVerifier(secret),
		Recorder: handlertest.NewSpy(),
		Log:      slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(proxy.Close)
	do := func(ctx context.Context, method, path, body string) *http.Response {
		t.Helper()
		return handlertest.Do(ctx, t, method, proxy.URL+path, key, body)
	}

	var tags struct {
		Models []struct {
			Name string
			Size int64
		}
	}
	if err := json.NewDecoder(do(t.Context(), "GET", "/api/tags", "").Body).Decode(&tags); err != nil {
		t.Fatal(err)
	}
	model, size := "", int64(0)
	for _, m := range tags.Models {
		if !signer.IsCloudModel(m.Name) && !strings.Contains(m.Name, "embed") && (model == "" || m.Size < size) {
			model, size = m.Name, m.Size
		}
	}
	if model == "" {
		t.Fatal("this Ollama has no model that chats; pull one first")
	}

	quoted, _ := json.Marshal(model)
	chat := `{"model":` + string(quoted) + `,"stream":true,"max_tokens":16,"max_output_tokens":16,"options":{"num_predict":16},` +
		`"prompt":"Count to five.","input":"Count to five.","messages":[{"role":"user","content":"Count to five."}]}`
	for path, end := range map[string]string{
		"/api/chat":            `"done":true`,
		"/api/generate":        `"done":true`,
		"/v1/chat/completions": "data: [DONE]",
		"/v1/completions":      "data: [DONE]",
		"/v1/responses":        "response.completed",
		"/v1/messages":         "message_stop",
	} {
		res := do(t.Context(), "POST", path, chat)
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), end) {
			t.Errorf("%s: status %d, %v, no %q in the answer", path, res.StatusCode, err, end)
		}
	}
	for _, path := range []string{"/api/version", "/api/ps", "/v1/models", "/"} {
		if res := do(t.Context(), "GET", path, ""); res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", path, res.StatusCode)
		}
	}

	// A client that leaves frees the model: the next request is answered.
	ctx, leave := context.WithCancel(t.Context())
	res := do(ctx, "POST", "/api/generate", `{"model":`+string(quoted)+`,"prompt":"Write a very long story.","options":{"num_predict":100000}}`)
	if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
		t.Error(err)
	}
	leave()
	if res := do(t.Context(), "POST", "/api/chat", chat); res.StatusCode != http.StatusOK {
		t.Errorf("after a client left: status %d", res.StatusCode)
	}
}
