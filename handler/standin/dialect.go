package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// dialect is the API to which a route belongs, which determines the form of its errors.
type dialect int

const (
	native dialect = iota
	openAI
	anthropic
)

// failure returns the body of an error.
func (d dialect) failure(status int, message, id string) any {
	kind := "api_error"
	switch {
	case status == http.StatusBadRequest:
		kind = "invalid_request_error"
	case status == http.StatusNotFound:
		kind = "not_found_error"
	case status == http.StatusServiceUnavailable && d == anthropic:
		kind = "overloaded_error"
	}
	switch d {
	case openAI:
		return map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": nil}}
	case anthropic:
		return map[string]any{"type": "error", "error": map[string]string{"type": kind, "message": message}, "request_id": id}
	}
	return map[string]string{"error": message}
}

func (x *exchange) fail(status int, message string) {
	x.reply(status, x.route.dialect.failure(status, message, x.id("req_")))
}

// reply sends an answer that is not streamed.
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

// send sends an answer that is not streamed, or half of it if the fault is to break off.
func (x *exchange) send(status int, contentType string, body []byte) {
	x.w.Header().Set("Content-Type", contentType)
	// net/http, and so Ollama, announces the length of a body that fits into its buffer, and sends others chunked.
	if len(body) <= 2048 || x.breaksOff() {
		x.w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	}
	if x.breaksOff() {
		x.w.WriteHeader(status)
		x.write(body[:len(body)/2])
		x.breakOff()
	}
	x.seen.answerEnds()
	x.w.WriteHeader(status)
	x.w.Write(body) // fails only if the client has left
}

// id returns an identifier with the prefix, different for each request.
func (x *exchange) id(prefix string) string {
	return fmt.Sprintf("%s%024x", prefix, x.seen.number)
}

// encode marshals a value of this package, which cannot fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
