package handler

import (
	"net/http"
	"strings"
)

// streamKind tells whether an answer is a stream, and of which form.
type streamKind int

const (
	noStream  streamKind = iota
	jsonLines            // application/x-ndjson
	sse                  // text/event-stream
	coded                // one of them, compressed: nothing can be added to it
)

func streamKindOf(h http.Header) streamKind {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	switch media {
	case "text/event-stream", "application/x-ndjson":
		if h.Get("Content-Encoding") != "" {
			return coded
		}
		if strings.HasSuffix(media, "ndjson") {
			return jsonLines
		}
		return sse
	}
	return noStream
}
