package upstream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// maxModels bounds how many models of one Ollama are known, those that run at ollama.com
// apart: all of those are known, so that none passes unrecognised.
const maxModels = 1000

// errNotOllama is the error for a server that has no list of models where Ollama has
// one. It is another kind of server, which has no account at ollama.com.
var errNotOllama = errors.New("there is no list of models")

// listing is a backend's list of models, by canonical name. The value is set if the
// model runs at ollama.com.
type listing map[string]bool

// probe asks the backend which models it has, and which of these are loaded. loaded is
// nil if the backend does not report it. It takes 5 s at most.
func (b *backend) probe(ctx context.Context) (installed, loaded listing, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if installed, err = b.ask(ctx, "/api/tags"); err != nil {
		return nil, nil, err
	}
	loaded, _ = b.ask(ctx, "/api/ps")
	return installed, loaded, nil
}

// ask requests one list of models from the backend.
func (b *backend) ask(ctx context.Context, path string) (listing, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "ollama-proxy")
	res, err := b.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, statusError(path, res.StatusCode)
	}
	var body struct {
		Models []struct {
			Name, Model string
			RemoteModel string `json:"remote_model"`
			RemoteHost  string `json:"remote_host"`
		}
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, models.MaxList)).Decode(&body); err != nil {
		return nil, models.ErrBadList
	}
	listed := listing{}
	for _, one := range body.Models {
		remote := one.RemoteHost != "" || one.RemoteModel != ""
		if name, ok := signer.CanonicalName(cmp.Or(one.Name, one.Model)); ok && (len(listed) < maxModels || remote) {
			listed[name] = listed[name] || remote
		}
	}
	return listed, nil
}

// statusError returns the error for a list whose status is not 200.
func statusError(path string, status int) error {
	err := fmt.Errorf("GET %s gives status %d", path, status)
	switch status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return fmt.Errorf("%w: %w", errNotOllama, err)
	}
	return err
}
