package upstream

// Recorder is told what happens with Ollamas, for metrics. Its methods are
// called from many goroutines at once.
type Recorder interface {
	// UpstreamJoined is called when there is an Ollama more, with the name that
	// it was given. What it gives stands for it in later calls. UpstreamLeft is
	// called when there will be no more of them, apart from UpstreamDone.
	UpstreamJoined(name string) (upstream int)
	UpstreamLeft(upstream int)

	// UpstreamUp is called after each look at an Ollama. Where its name stands
	// for several, it is up if one of them is.
	UpstreamUp(upstream int, up bool)

	// UpstreamFailed is called when an Ollama cannot be reached, breaks off, or
	// ends a stream without its last word or with an error.
	// Kind is one of [UpstreamErrors].
	UpstreamFailed(upstream int, kind string)

	// UpstreamEntered is called when a request is sent to one of several
	// Ollamas. Choice says why to that one, and is one of [UpstreamChoices].
	// UpstreamDone is called once for each, at the end.
	UpstreamEntered(upstream int, choice string)
	UpstreamDone(upstream int)

	// UpstreamRetried is called when a request comes back from one of several
	// Ollamas and another one is tried. Reason is one of [UpstreamRetries].
	UpstreamRetried(upstream int, reason string)
}

// The kinds of upstreamRecorder.UpstreamFailed.
const (
	UpstreamDial    = "dial"
	UpstreamTimeout = "timeout"
	UpstreamReset   = "reset"
	UpstreamOther   = "other"

	UpstreamTruncated = "truncated" // a stream ended cleanly, but without its last word
	UpstreamReported  = "reported"  // the last word of a stream was an error of Ollama's own
)

// Errors lists every kind of failure of Ollama's.
func Errors() []string {
	return []string{UpstreamDial, UpstreamTimeout, UpstreamReset, UpstreamOther, UpstreamTruncated, UpstreamReported}
}

// The choices of upstreamRecorder.UpstreamEntered.
const (
	choiceConversation = "conversation"
	choiceLoaded       = "loaded"
	choiceCold         = "cold"
	choiceAny          = "any"
	choiceNamed        = "named"
)

// Choices lists every reason for which one of several Ollamas is chosen:
// it served the conversation last, has the model loaded, is to load it, or
// nothing speaks for another; or the client has named it.
func Choices() []string {
	return []string{choiceConversation, choiceLoaded, choiceCold, choiceAny, choiceNamed}
}

// The reasons of upstreamRecorder.UpstreamRetried.
const (
	retryRefused = "refused"
	retryReset   = "reset"
	retryBusy    = "busy"
)

// Retries lists every reason for which a request is sent to another
// Ollama.
func Retries() []string { return []string{retryRefused, retryReset, retryBusy} }
