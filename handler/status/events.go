package status

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// eventInterval is the time between two events.
	eventInterval = time.Second

	// eventWriteTimeout is how long a viewer may take to read an event.
	eventWriteTimeout = 10 * time.Second

	// maxViewers bounds how many streams of events there may be at the same time.
	maxViewers = 32
)

// streamEvents sends a Status as an event, at once and then every second, until the
// viewer leaves or stops reading.
func (w *Watcher) streamEvents(rw http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(rw)
	rw.Header().Set("Content-Type", "text/event-stream")
	rw.Header().Set("X-Accel-Buffering", "no")
	ticker := time.NewTicker(eventInterval)
	defer ticker.Stop()
	for {
		data, err := json.Marshal(w.Status())
		if err != nil {
			return
		}
		control.SetWriteDeadline(time.Now().Add(eventWriteTimeout))
		if _, err := fmt.Fprintf(rw, "data: %s\n\n", data); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}
