package api

import (
	"net/http"
	"strings"
)

// StreamKind is the form of a streamed answer.
type StreamKind int

const (
	NoStream  StreamKind = iota // an answer in one piece
	JsonLines                   // application/x-ndjson
	Sse                         // text/event-stream
	coded                       // one of the two, compressed: nothing can be added to it
)

// StreamKindOf tells the form of an answer by its Content-Type and Content-Encoding.
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
