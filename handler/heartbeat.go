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

// heartbeat sends the client a comment at every interval while Ollama loads a model or
// queues the request, so that proxies between this one and the client do not time out.
// Clients of server-sent events ignore comments. The first comment begins the answer with
// status 200: an error of Ollama's can then only be sent as an event.
type heartbeat struct {
	x        *exchange
	interval time.Duration
	begin    func() // sends the head of the answer

	mu      sync.Mutex // held while a comment is written
	timer   *time.Timer
	stopped bool
}

// startHeartbeat starts a heartbeat, or returns nil if the proxy has none or the route has
// no server-sent events.
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

// beat sends a comment, if the request asks for a stream, and sets the timer again.
func (h *heartbeat) beat() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	x := h.x
	// While the body is being read it is not known whether it asks for a stream.
	if x.wantsStream.Load() && !x.unread() {
		if x.status == 0 {
			h.begin()
		}
		if _, err := io.WriteString(x.w, comment); err != nil || x.control.Flush() != nil {
			return
		}
	}
	h.timer.Reset(h.interval)
}

// stop ends the heartbeat. No comment is sent once it returns. h may be nil.
func (h *heartbeat) stop() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	h.timer.Stop()
}

// errorAnswer is an answer of Ollama's that is not a stream of events, after a heartbeat
// has begun one.
type errorAnswer struct {
	status  int
	message string // for the client
}

func (e *errorAnswer) Error() string { return fmt.Sprintf("status %d in place of a stream", e.status) }

// readErrorAnswer reads from Ollama's answer why it is not a stream, and returns an
// *errorAnswer.
func readErrorAnswer(res *http.Response) error {
	e := &errorAnswer{res.StatusCode, "Ollama sent no stream"}
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

// maxErrorBody bounds how much of an error answer of Ollama's is read, to be sent as an
// event: 64 KiB.
const maxErrorBody = 64 << 10
