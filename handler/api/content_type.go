package api

import (
	"net/http"
	"strings"
)

// StreamKind tells whether an answer is a stream, and of which form.
type StreamKind int

const (
	NoStream  StreamKind = iota
	JsonLines            // application/x-ndjson
	Sse                  // text/event-stream
	coded                // one of them, compressed: nothing can be added to it
)

func StreamKindOf(h http.Header) StreamKind {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	switch media {
	case "text/event-stream", "application/x-ndjson":
		if h.Get("Content-Encoding") != "" {
			return coded
		}
		if strings.HasSuffix(media, "ndjson") {
			return JsonLines
		}
		return Sse
	}
	return NoStream
}
