package upstream

// Recorder is told what happens to the Ollamas, for metrics. It must be safe for
// concurrent use.
type Recorder interface {
	// UpstreamJoined is called when an entry is added, with its name. It returns a
	// number that stands for the entry in later calls. UpstreamLeft is called when the
	// entry is removed; only UpstreamDone may be called for it after that.
	UpstreamJoined(name string) (upstream int)
	UpstreamLeft(upstream int)

	// UpstreamUp is called after each probe. An entry that stands for several Ollamas is
	// up if one of them is.
	UpstreamUp(upstream int, up bool)

	// UpstreamFailed is called when an Ollama cannot be reached, breaks off, or ends a
	// stream early or with an error. kind is one of [Errors].
	UpstreamFailed(upstream int, kind string)

	// UpstreamEntered is called when a request is sent to one of several Ollamas. choice
	// says why that one was chosen, and is one of [Choices]. UpstreamDone is called once
	// for each, when the request has ended there.
	UpstreamEntered(upstream int, choice string)
	UpstreamDone(upstream int)

	// UpstreamRetried is called when a request has failed on one of several Ollamas and
	// is sent to another one. reason is one of [Retries].
	UpstreamRetried(upstream int, reason string)
}

// The kinds of failure for UpstreamFailed.
const (
	UpstreamDial    = "dial"
	UpstreamTimeout = "timeout"
	UpstreamReset   = "reset"
	UpstreamOther   = "other"

	UpstreamTruncated = "truncated" // a stream ended cleanly, but without its last message
	UpstreamReported  = "reported"  // the last message of a stream was an error of Ollama's own
)

// Errors returns every kind of failure of an Ollama.
func Errors() []string {
	return []string{UpstreamDial, UpstreamTimeout, UpstreamReset, UpstreamOther, UpstreamTruncated, UpstreamReported}
}

// The choices for UpstreamEntered, see [Choices].
const (
	choiceConversation = "conversation"
	choiceLoaded       = "loaded"
	choiceCold         = "cold"
	choiceAny          = "any"
	choiceNamed        = "named"
)

// Choices returns every reason for which one of several Ollamas gets a request: it
// served the conversation last, has the model loaded, must load it, or is any of them
// (if none is known to have the model, or the request has no model); or the client has
// named it.
func Choices() []string {
	return []string{choiceConversation, choiceLoaded, choiceCold, choiceAny, choiceNamed}
}

// The reasons for UpstreamRetried.
const (
	retryRefused = "refused"
	retryReset   = "reset"
	retryBusy    = "busy"
)

// Retries returns every reason for which a request is sent to another Ollama.
func Retries() []string { return []string{retryRefused, retryReset, retryBusy} }
