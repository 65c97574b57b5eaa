package transport

import (
	"io"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/body"
)

// InMemory is a body that leaves in one write with the head, as those of most
// requests do.
func InMemory(text string) io.ReadCloser { return body.NewReader(body.Pieces{First: []byte(text)}) }

// Retire does what is done to the transport of an Ollama that has left.
func Retire(t http.RoundTripper) { t.(*Transport).Retire() }
