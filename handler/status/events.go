package status

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// eventInterval is how often those who look are told.
	eventInterval = time.Second

	// eventPatience is how long a viewer may take to read an event.
	eventPatience = 10 * time.Second

	// maxViewers bounds how many may look at the same time.
	maxViewers = 32
)

// stream tells what there is to see, at once and then every second, until the
// viewer goes away or does not read any more.
func (w *Watcher) stream(rw http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(rw)
	rw.Header().Set("Content-Type", "text/event-stream")
	rw.Header().Set("X-Accel-Buffering", "no")
	ticker := time.NewTicker(eventInterval)
	defer ticker.Stop()
	for {
		data, err := json.Marshal(w.Look())
		if err != nil {
			return
		}
		control.SetWriteDeadline(time.Now().Add(eventPatience))
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
