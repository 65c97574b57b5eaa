package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// ErrorAnswer is an answer of Ollama's that is not a stream of events, where the client
// has been promised one.
type ErrorAnswer struct {
	Status  int    // of Ollama's answer, or 502
	Message string // for the client
}

func (e *ErrorAnswer) Error() string { return fmt.Sprintf("status %d in place of a stream", e.Status) }

// ReadErrorAnswer reads from Ollama's answer why it is not a stream, and returns an
// *ErrorAnswer.
func ReadErrorAnswer(res *http.Response) error {
	e := &ErrorAnswer{res.StatusCode, "Ollama sent no stream"}
	if res.StatusCode < 400 {
		e.Status = http.StatusBadGateway
		return e
	}
	var body struct{ Error json.RawMessage }
	var detail struct{ Message string }
	if json.NewDecoder(io.LimitReader(res.Body, maxErrorBody)).Decode(&body) == nil {
		if json.Unmarshal(body.Error, &e.Message) != nil && json.Unmarshal(body.Error, &detail) == nil {
			e.Message = detail.Message
		}
	}
	return e
}

// maxErrorBody bounds how much of an error answer of Ollama's is read, to be sent as an
// event: 64 KiB.
const maxErrorBody = 64 << 10
