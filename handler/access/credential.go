package access

import (
	"errors"
	"net/http"
	"strings"
)

var (
	ErrNoKey     = errors.New("no key")
	ErrAmbiguous = errors.New("ambiguous credentials")
	errNotBearer = errors.New("not a bearer key")
)

const apiKeyHeader = "X-Api-Key"

// Credential finds the key in a request: in Authorization: Bearer, as OpenAI
// clients and Ollama's own send it, or in x-api-key, as Anthropic's do.
//
//   - If there is none, it returns errNoKey.
//   - If a header stands twice, or both stand and do not carry the same key, it
//     returns errAmbiguous: another server might have chosen the other one.
//   - If Authorization holds anything but a bearer key, it returns errNotBearer.
func Credential(h http.Header) (string, error) {
	authorization, apiKey := h["Authorization"], h[apiKeyHeader]
	if len(authorization) > 1 || len(apiKey) > 1 {
		return "", ErrAmbiguous
	}
	if len(authorization) == 0 {
		if len(apiKey) == 0 {
			return "", ErrNoKey
		}
		return apiKey[0], nil
	}
	key, bearer := cutBearer(authorization[0])
	switch {
	case len(apiKey) == 1 && (!bearer || key != apiKey[0]):
		return "", ErrAmbiguous
	case !bearer:
		return "", errNotBearer
	}
	return key, nil
}

func cutBearer(value string) (key string, ok bool) {
	const scheme = "Bearer "
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", false
	}
	return value[len(scheme):], true
}
