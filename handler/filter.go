package handler

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// maxList bounds an answer that lists models: 16 MiB, some tens of thousands.
const maxList = 16 << 20

var errBadList = errors.New("the list of models cannot be read")

// filterModels takes out of a list of models those that the key is not for.
// Whatever else the answer holds stays as it is. If the answer is no list, it is
// not passed on, and filterModels returns an error.
func filterModels(res *http.Response, limits signer.Limits) error {
	if res.StatusCode != http.StatusOK {
		return nil
	}
	res.Header.Del("Content-Length") // of a HEAD's answer, too: it counts what is left out
	if res.Request != nil && res.Request.Method == http.MethodHead {
		res.ContentLength = -1
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxList+1))
	if err != nil {
		return err
	}
	var list map[string]json.RawMessage
	if len(body) > maxList || json.Unmarshal(body, &list) != nil {
		return errBadList
	}
	for _, field := range []string{"models", "data"} { // /api, /v1
		if list[field] == nil {
			continue
		}
		var entries []json.RawMessage
		if json.Unmarshal(list[field], &entries) != nil {
			return errBadList
		}
		kept := make([]json.RawMessage, 0, len(entries))
		for _, entry := range entries {
			if listed(entry, limits) {
				kept = append(kept, entry)
			}
		}
		if list[field], err = json.Marshal(kept); err != nil {
			return errBadList
		}
	}
	if body, err = json.Marshal(list); err != nil {
		return errBadList
	}
	res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	res.ContentLength = int64(len(body))
	return nil
}

// listed reports whether the key is for every model that the entry names.
func listed(entry json.RawMessage, limits signer.Limits) bool {
	var e struct{ Model, Name, ID string }
	if json.Unmarshal(entry, &e) != nil {
		return false
	}
	named := false
	for _, name := range []string{e.Model, e.Name, e.ID} {
		if name == "" {
			continue
		}
		canonical, ok := signer.CanonicalName(name)
		if !ok || !limits.AllowsModel(canonical) {
			return false
		}
		named = true
	}
	return named
}
