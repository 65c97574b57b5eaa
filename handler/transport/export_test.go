package transport

import (
	"io"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
)

// InMemory returns a body that is sent in one write with the head, as the bodies of most
// requests are.
func InMemory(text string) io.ReadCloser { return body.NewReader(body.Pieces{First: []byte(text)}) }

// Retire calls Retire, as a pool does when an Ollama is removed.
func Retire(t http.RoundTripper) { t.(*Transport).Retire() }
