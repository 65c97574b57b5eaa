package models

import (
	"bytes"
	"io"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// FilterAnswer removes the models that the key does not allow from the list of models in
// an answer. It returns an error if the answer is not a list: then it must not be relayed.
func FilterAnswer(res *http.Response, limits signer.Limits) error {
	if res.StatusCode != http.StatusOK {
		return nil
	}
	res.Header.Del("Content-Length") // also for HEAD: it would reveal the length of the whole list
	if res.Request != nil && res.Request.Method == http.MethodHead {
		res.ContentLength = -1
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxList+1))
	if err != nil {
		return err
	}
	if len(body) > MaxList {
		return ErrBadList
	}
	lists, err := ReadLists(body)
	if err != nil {
		return err
	}
	lists.Filter(limits)
	body = lists.JSON()
	res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	res.ContentLength = int64(len(body))
	return nil
}
