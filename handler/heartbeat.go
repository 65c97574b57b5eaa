package handler

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
)

// heartbeat keeps the proxies between us and a client from giving up while
// Ollama loads a model or lets the request wait: at every interval it sends a
// comment, which clients of event streams skip. The first one begins the answer,
// so that an error of Ollama's can then only be told in an event.
type heartbeat struct {
	x        *exchange
	interval time.Duration
	begin    func() // the answer

	mu      sync.Mutex // held while the answer is written to
	timer   *time.Timer
	stopped bool
}

// startHeartbeat begins one if the proxy is to, and the request can be one for
// events. Nil means none.
func (p *Proxy) startHeartbeat(x *exchange) *heartbeat {
	if p.Heartbeat == 0 || !x.Route.HasEvents() {
		return nil
	}
	h := &heartbeat{x: x, interval: p.Heartbeat, begin: func() {
		h := x.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		p.beginStream(x, api.Sse)
		x.status = http.StatusOK
		x.w.WriteHeader(http.StatusOK)
	}}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer = time.AfterFunc(h.interval, h.beat)
	return h
}

const comment = ": waiting for Ollama\n\n"

func (h *heartbeat) beat() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	x := h.x
	// The body may still be on its way, and what it asks for not yet known.
	if x.asksStream.Load() && !x.unread() {
		if x.status == 0 {
			h.begin()
		}
		if _, err := io.WriteString(x.w, comment); err != nil || x.control.Flush() != nil {
			return
		}
	}
	h.timer.Reset(h.interval)
}

// stop makes sure that no comment will be sent any more. h may be nil.
func (h *heartbeat) stop() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	h.timer.Stop()
}

// ollamaError is an answer of Ollama's that is no stream of events, where one
// has been begun on its behalf.
type ollamaError struct {
	status  int
	message string // for the client
}

func (e *ollamaError) Error() string { return fmt.Sprintf("status %d in place of a stream", e.status) }

// refuseAnswer reads why Ollama sends no stream.
func refuseAnswer(res *http.Response) error {
	e := &ollamaError{res.StatusCode, "Ollama sent no stream"}
	if res.StatusCode < 400 {
		e.status = http.StatusBadGateway
		return e
	}
	var body struct{ Error json.RawMessage }
	var detail struct{ Message string }
	if json.NewDecoder(io.LimitReader(res.Body, maxErrorBody)).Decode(&body) == nil {
		if json.Unmarshal(body.Error, &e.message) != nil && json.Unmarshal(body.Error, &detail) == nil {
			e.message = detail.Message
		}
	}
	return e
}

// maxErrorBody is how much of an error of Ollama's is read to pass it on in an
// event: 64 KiB.
const maxErrorBody = 64 << 10
