package access

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

var (
	// ErrNoKey means that a request has none of the headers that carry a key.
	ErrNoKey = errors.New("no key")

	// ErrAmbiguous means that a request carries two different keys.
	ErrAmbiguous = errors.New("ambiguous credentials")

	errForeign = errors.New("no credential has the shape of a key")
)

// maxBasic bounds the Basic credentials that are decoded: 8 KiB, room for two of the
// longest keys.
const maxBasic = 8 << 10

// Credential returns the API key of a request. It looks in Authorization, as Bearer
// or as the user or the password of Basic, and in x-api-key, api-key and
// x-goog-api-key. Spaces, one pair of quotes and a second "Bearer" around a key are
// taken off.
//
// A credential that has not the shape of a key is another program's: beside a key it is
// ignored. The key is returned unverified.
//
//   - If there is no such header, Credential returns ErrNoKey.
//   - If no credential in them has the shape of a key, it returns an error, or a text
//     without that shape, which is no valid key either.
//   - If there are two different keys, it returns ErrAmbiguous: another server might
//     have chosen the other one.
func Credential(h http.Header) (string, error) {
	authorization, apiKey := h["Authorization"], h["X-Api-Key"]
	gateway, google := h["Api-Key"], h["X-Goog-Api-Key"]
	switch n := len(apiKey) + len(gateway) + len(google); {
	case n == 0 && len(authorization) == 0:
		return "", ErrNoKey
	case n == 0 && len(authorization) == 1:
		// Nearly all requests are like this one: who verifies the key looks at its
		// shape anyway.
		if key, ok := cutBearer(authorization[0]); ok {
			return key, nil
		}
	}
	var found keys
	for _, value := range authorization {
		if key, ok := cutBearer(value); ok {
			found.add(key)
		} else if user, password, ok := cutBasic(value); ok {
			found.add(unwrap(user))
			found.add(unwrap(password))
		}
	}
	for _, values := range [...][]string{apiKey, gateway, google} {
		for _, value := range values {
			found.add(unwrap(value))
		}
	}
	switch {
	case found.differ:
		return "", ErrAmbiguous
	case found.key == "":
		return "", errForeign
	}
	return found.key, nil
}

// keys are the texts of a request that have the shape of a key.
type keys struct {
	key    string
	differ bool
}

// add takes a text if it has the shape of a key. Keys need not be compared in constant
// time here: both come from the same client.
func (k *keys) add(text string) {
	if !signer.HasShape(text) {
		return
	}
	k.differ = k.differ || k.key != "" && k.key != text
	k.key = text
}

// cutBearer returns what follows the scheme, which some users type into the field for
// the key, so that it stands there twice.
func cutBearer(value string) (key string, ok bool) {
	key, ok = cutScheme(value, "Bearer ")
	if !ok {
		return "", false
	}
	key = unwrap(key)
	if again, ok := cutScheme(key, "Bearer "); ok {
		key = unwrap(again)
	}
	return key, true
}

func cutBasic(value string) (user, password string, ok bool) {
	encoded, ok := cutScheme(value, "Basic ")
	if !ok || len(encoded) > maxBasic {
		return "", "", false
	}
	text, err := base64.StdEncoding.DecodeString(strings.Trim(encoded, " "))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(text), ":")
}

func cutScheme(value, scheme string) (rest string, ok bool) {
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", false
	}
	return value[len(scheme):], true
}

// unwrap takes spaces and a pair of quotes off. A key has neither, so it stays as it
// is.
func unwrap(text string) string {
	text = strings.Trim(text, " ")
	if n := len(text); n >= 2 && text[0] == text[n-1] && (text[0] == '"' || text[0] == '\'') {
		return strings.Trim(text[1:n-1], " ")
	}
	return text
}
