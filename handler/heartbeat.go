package handler

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
)

// heartbeat keeps a stream of server-sent events awake: at every interval in which Ollama
// sends nothing, because it loads a model, queues the request or collects the arguments
// of a tool call, the client gets a heartbeat in its dialect. So neither the client nor a
// proxy between times out. The first heartbeat begins the answer with status 200: an
// error of Ollama's can then only be sent as an event.
type heartbeat struct {
	x        *exchange
	interval time.Duration
	begin    func() // sends the head of the answer
	isCodex  bool   // see api.Dialect.Heartbeat

	mu      sync.Mutex // held while the answer is written to
	timer   *time.Timer
	paused  bool
	relayed *api.Passage // nil: Ollama's answer has not begun
}

// startHeartbeat starts a heartbeat, or returns nil if the proxy has none or the route has
// no server-sent events. All methods may be called on nil.
func (p *Proxy) startHeartbeat(x *exchange) *heartbeat {
	if p.Heartbeat == 0 || !x.Route.HasEvents() {
		return nil
	}
	h := &heartbeat{x: x, interval: p.Heartbeat, isCodex: strings.HasPrefix(x.r.UserAgent(), "codex"), begin: func() {
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

// beat sends a heartbeat, if the request asks for a stream, nothing was sent for the
// interval, and no event is incomplete. It sets the timer again.
func (h *heartbeat) beat() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.paused {
		return
	}
	x, wait := h.x, h.interval
	silent := h.interval
	if h.relayed != nil {
		silent = time.Since(x.arrived) - x.lastChunk
	}
	switch {
	case silent < h.interval:
		wait -= silent
	// While the body is being read it is not known whether it asks for a stream.
	case !x.wantsStream.Load() || x.unread(), h.relayed != nil && !h.relayed.IsBetweenEvents():
	default:
		if x.status == 0 {
			h.begin()
		}
		number := int64(0)
		if h.relayed != nil {
			h.relayed.Ending.Finish(&h.relayed.Tail)
			if h.relayed.Ending.IsWhole() {
				return // the client waits for nothing more
			}
			number = h.relayed.Ending.Next
		}
		if _, err := x.w.Write(x.dialect.Heartbeat(number, h.isCodex)); err != nil || x.control.Flush() != nil {
			return
		}
	}
	h.timer.Reset(wait)
}

// pause stops the heartbeat. None is sent once it returns, until follow is called.
func (h *heartbeat) pause() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paused = true
	h.timer.Stop()
}

// follow starts the heartbeat again in the midst of Ollama's answer. From then on whoever
// writes to the client, or changes relayed, holds the lock.
func (h *heartbeat) follow(relayed *api.Passage) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paused, h.relayed = false, relayed
	h.timer.Reset(h.interval)
}

func (h *heartbeat) lock() {
	if h != nil {
		h.mu.Lock()
	}
}

func (h *heartbeat) unlock() {
	if h != nil {
		h.mu.Unlock()
	}
}
