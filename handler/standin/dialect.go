package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// dialect is the API that a route belongs to; errors are worded in it.
type dialect int

const (
	native dialect = iota
	openAI
	anthropic
)

// failure returns the body of an error.
func (d dialect) failure(status int, message, id string) any {
	switch d {
	case openAI:
		kind := "api_error"
		switch status {
		case http.StatusBadRequest:
			kind = "invalid_request_error"
		case http.StatusNotFound:
			kind = "not_found_error"
		}
		return map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": nil}}
	case anthropic:
		kind := "api_error"
		switch status {
		case http.StatusBadRequest:
			kind = "invalid_request_error"
		case http.StatusNotFound:
			kind = "not_found_error"
		case http.StatusServiceUnavailable:
			kind = "overloaded_error"
		}
		return map[string]any{"type": "error", "error": map[string]string{"type": kind, "message": message}, "request_id": id}
	}
	return map[string]string{"error": message}
}

func (x *exchange) fail(status int, message string) {
	x.reply(status, x.route.dialect.failure(status, message, x.id("req_")))
}

// reply sends a whole answer.
func (x *exchange) reply(status int, v any) {
	if (x.fault == "runner-killed" || x.fault == "error-event") && status == http.StatusOK {
		x.fail(http.StatusInternalServerError, killedMessage)
		return
	}
	body := encode(v)
	contentType := "application/json; charset=utf-8"
	if x.route.dialect != native {
		contentType = "application/json"
		body = append(body, '\n')
	}
	x.send(status, contentType, body)
}

// send is where every whole answer leaves, halved if that is how it misbehaves.
func (x *exchange) send(status int, contentType string, body []byte) {
	x.w.Header().Set("Content-Type", contentType)
	// Ollama leaves this to net/http, which gives a length to what fits into its buffer and sends the rest chunked.
	if len(body) <= 2048 || x.halves() {
		x.w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	}
	if x.halves() {
		x.w.WriteHeader(status)
		x.write(body[:len(body)/2])
		x.stop()
	}
	x.seen.finish()
	x.w.WriteHeader(status)
	x.w.Write(body) // fails only when the client has left, and then nobody is to be told
}

// id returns an identifier with the prefix, different for each request and the same in all of an answer.
func (x *exchange) id(prefix string) string {
	return fmt.Sprintf("%s%024x", prefix, x.seen.number)
}

// encode marshals what this package made itself, which cannot fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
