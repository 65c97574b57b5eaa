package api

import (
	"encoding/json"
	"net/http"
	"strings"
)

// Dialect is the format in which the clients of a route expect errors. The zero Dialect
// is Native.
type Dialect int

const (
	Native    Dialect = iota // /api: {"error":"…"}
	openAI                   // /v1: OpenAI's error object
	responses                // /v1/responses: OpenAI's, but errors inside a stream differ
	anthropic                // /v1/messages: Anthropic's error object
)

// DialectOf returns the dialect for a path that no route has: it guesses by how the path
// begins.
func DialectOf(path string) Dialect {
	switch {
	case path == "/v1/messages" || strings.HasPrefix(path, "/v1/messages/"):
		return anthropic
	case path == "/v1/responses" || strings.HasPrefix(path, "/v1/responses/"):
		return responses
	case strings.HasPrefix(path, "/v1/"):
		return openAI
	}
	return Native
}

type openAIError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

type anthropicError struct {
	Type  string `json:"type"`
	Error struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
	RequestID string `json:"request_id"`
}

// ErrorBody returns the JSON body of an error answer with the status and the message.
// Anthropic's has the request id in it; the others leave it to a header.
func (d Dialect) ErrorBody(status int, message, requestID string) []byte {
	switch d {
	case openAI, responses:
		return encode(map[string]openAIError{"error": newOpenAIError(status, message)})
	case anthropic:
		return encode(newAnthropicError(status, message, requestID))
	}
	return encode(map[string]string{"error": message})
}

// ErrorEvent returns what is to be written at the end of a stream that broke off: a line
// of JSON, or a server-sent event, so that the client's library reports the message. The
// number is the event's sequence_number, which only /v1/responses has.
func (d Dialect) ErrorEvent(kind StreamKind, status int, message, requestID string, number int64) []byte {
	if kind == JsonLines {
		return append(Native.ErrorBody(status, message, requestID), '\n')
	}
	switch d {
	case responses:
		return event("error", encode(newResponsesError(status, message, number)))
	case anthropic:
		return event("error", d.ErrorBody(status, message, requestID))
	}
	return event("", d.ErrorBody(status, message, requestID))
}

func event(name string, data []byte) []byte {
	text := "data: " + string(data) + "\n\n"
	if name != "" {
		text = "event: " + name + "\n" + text
	}
	return []byte(text)
}

func newOpenAIError(status int, message string) openAIError {
	e := openAIError{Message: message, Type: "api_error"}
	switch status {
	case http.StatusUnauthorized:
		code := "invalid_api_key"
		e.Type, e.Code = "authentication_error", &code
	case http.StatusForbidden:
		e.Type = "permission_error"
	case http.StatusNotFound:
		e.Type = "not_found_error"
	case http.StatusTooManyRequests:
		e.Type = "rate_limit_error"
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusBadRequest, http.StatusMethodNotAllowed,
		http.StatusRequestEntityTooLarge, http.StatusUpgradeRequired:
		e.Type = "invalid_request_error"
	}
	return e
}

// responsesError is the error event of /v1/responses. OpenAI's documentation puts the
// fields of the error into the event itself, and OpenAI's servers put them into an object
// inside it. Clients read one or the other, so both are there.
type responsesError struct {
	Type     string      `json:"type"`
	Number   int64       `json:"sequence_number"`
	Code     string      `json:"code"`
	Message  string      `json:"message"`
	Param    *string     `json:"param"`
	Contents openAIError `json:"error"`
}

func newResponsesError(status int, message string, number int64) responsesError {
	e := newOpenAIError(status, message)
	if e.Code == nil {
		code := "server_error"
		e.Code = &code
	}
	return responsesError{Type: "error", Number: number, Code: *e.Code, Message: message, Contents: e}
}

func newAnthropicError(status int, message, requestID string) anthropicError {
	e := anthropicError{Type: "error", RequestID: requestID}
	e.Error.Message = message
	switch status {
	case http.StatusUnauthorized:
		e.Error.Type = "authentication_error"
	case http.StatusForbidden:
		e.Error.Type = "permission_error"
	case http.StatusNotFound:
		e.Error.Type = "not_found_error"
	case http.StatusRequestEntityTooLarge:
		e.Error.Type = "request_too_large"
	case http.StatusTooManyRequests:
		e.Error.Type = "rate_limit_error"
	case http.StatusServiceUnavailable:
		e.Error.Type = "overloaded_error"
	case http.StatusGatewayTimeout:
		e.Error.Type = "timeout_error"
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusBadRequest, http.StatusMethodNotAllowed,
		http.StatusUpgradeRequired:
		e.Error.Type = "invalid_request_error"
	default:
		e.Error.Type = "api_error"
	}
	return e
}

// encode writes one line of JSON. The values are ours and always encode.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
