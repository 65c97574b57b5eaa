package handler

import (
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/access"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

// Recorder is told what happens, for metrics. Routes are places in
// [RouteNames]. Its methods are called from many goroutines at once, Passed
// once per chunk, so they should take no lock.
type Recorder interface {
	upstream.Recorder

	// RequestStarted is called once for each request that arrives.
	RequestStarted(route int)

	// Refused is called when the proxy itself refuses a request. Reason is
	// one of [RefusalReasons].
	Refused(reason string)

	// Forwarded is called when a request is about to be sent to Ollama, after
	// the time that the proxy has added to it.
	Forwarded(overhead time.Duration)

	// Uploaded is called as bytes of a request's body pass.
	Uploaded(route int, bytes int)

	// FirstByte is called when the first byte of Ollama's answer arrives,
	// with the time since the request did.
	FirstByte(route int, after time.Duration)

	// StreamStarted is called when Ollama's answer turns out to be a stream.
	StreamStarted(route int)

	// KeySeen is called once for each request with a valid key: with the id of its
	// head, with the last id that it got when it was narrowed, zero if there is none,
	// and with its label, if it has one, which is valid during the call only. Narrowed
	// and the label may be the word of any holder of the key; the id is not. What it
	// gives stands for the key in later calls.
	KeySeen(id, narrowed [16]byte, label []byte) (key int)

	// Passed is called when bytes of an answer have been passed on. In a
	// stream gap is the time since the bytes before; it is 0 for the first
	// ones, and for what is no stream.
	Passed(route, key, bytes int, gap time.Duration)

	// StreamEnded is called once for each StreamStarted. Outcome is one of
	// [StreamOutcomes].
	StreamEnded(route int, outcome string)

	// Answered is called at the end of an answer of Ollama's, whole or not,
	// that is about a model: one that Ollama lists, in its canonical spelling,
	// or "other". It tells how many bytes were passed on and, where the answer
	// says so, how many tokens it took; otherwise they are 0.
	Answered(key int, model string, bytes, prompt, completion int64)

	// Reloaded is called when the server begins with what it was made with,
	// and after each attempt to reload, with the moment.
	Reloaded(source string, ok bool, at time.Time)

	// RequestEnded is called once for each RequestStarted. Code is the status
	// of the answer; 499 means that the client left before its end, and where
	// an answer broke off after its status was sent, code says why: 401, 502, 503
	// or 504. Method is "other" unless a route has it.
	RequestEnded(route int, method string, code int, took time.Duration)
}

// The reasons of Recorder.Refused.
const (
	reasonMissing      = "missing"
	reasonMalformed    = "malformed"
	reasonBadSignature = "bad_signature"
	reasonExpired      = "expired"
	reasonRevoked      = "revoked"
	reasonAmbiguous    = "ambiguous"
	reasonModel        = "model"
	reasonRoute        = "route"
	reasonAddress      = "address"

	reasonOverload = "overload"
	reasonBody     = "body"
)

// RefusalReasons lists every reason for which the proxy refuses a request.
func RefusalReasons() []string {
	return []string{
		reasonMissing, reasonMalformed, reasonBadSignature, reasonExpired, reasonRevoked, reasonAmbiguous,
		reasonModel, reasonRoute, reasonAddress, access.ReasonRPM, access.ReasonStreams, reasonOverload, reasonBody,
	}
}

// The outcomes of a request, and of a stream.
const (
	outcomeComplete      = "complete"
	outcomeClientGone    = "client_gone"
	outcomeUpstreamError = "upstream_error"
	outcomeStalled       = "stalled"
	outcomeRevoked       = "revoked"
	outcomeShutdown      = "shutdown"
	outcomeRefused       = "refused" // not of a stream
)

// StreamOutcomes lists every way in which a stream ends.
func StreamOutcomes() []string {
	return []string{outcomeComplete, outcomeClientGone, outcomeUpstreamError, outcomeStalled, outcomeRevoked, outcomeShutdown}
}
