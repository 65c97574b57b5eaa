package handler

import (
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/access"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

// Recorder receives the events that metrics count. A route is an index in
// [api.RouteNames]. The methods are called from many goroutines at once, and Passed once
// per chunk, so they should take no lock.
type Recorder interface {
	upstream.Recorder

	// RequestStarted is called once for each request that arrives.
	RequestStarted(route int)

	// Refused is called when the proxy itself refuses a request, with one of
	// [RefusalReasons].
	Refused(reason string)

	// Forwarded is called when a request is about to be sent to Ollama. Overhead is the
	// time since it arrived, without the time spent on reading its body.
	Forwarded(overhead time.Duration)

	// Uploaded is called when bytes of a request's body have been read.
	Uploaded(route int, bytes int)

	// FirstByte is called when the first byte of the body of Ollama's answer arrives,
	// with the time since the request arrived.
	FirstByte(route int, after time.Duration)

	// StreamStarted is called when the head of Ollama's answer announces a stream, or
	// when the first heartbeat begins one.
	StreamStarted(route int)

	// KeySeen is called once for each request with a valid key, with the id of its head,
	// with the last id that it got when it was narrowed, zero if there is none, and with
	// its label, which may be empty. The slice is valid during the call only. Any holder
	// of a key can choose narrowed and the label (by a caveat), but not the id. The
	// number that KeySeen returns identifies the key in later calls.
	KeySeen(id, narrowed [16]byte, label []byte) (key int)

	// Passed is called when a chunk of an answer has been sent to the client. Gap is the
	// time since the chunk before it in a stream; it is 0 for the first chunk, and for
	// answers that are not streams.
	Passed(route, key, bytes int, gap time.Duration)

	// StreamEnded is called once for each StreamStarted. Outcome is one of
	// [StreamOutcomes].
	StreamEnded(route int, outcome string)

	// Answered is called at the end of an answer of Ollama's, complete or not, to a
	// request that names a model. Model is the canonical spelling of a model that Ollama
	// lists, or "other". Bytes counts what was sent to the client. Prompt and completion
	// are the token counts in the answer, or 0 if it has none.
	Answered(key int, model string, bytes, prompt, completion int64)

	// Reloaded is called for each source of configuration (secrets, revocations,
	// certificate and so on) when the server starts, and after each attempt to reload it.
	// Ok reports whether that succeeded.
	Reloaded(source string, ok bool, at time.Time)

	// RequestEnded is called once for each RequestStarted. Code is the status of the
	// answer; 499 if the client left before the end of the answer; or, if the answer
	// broke off after its status was sent, the status for the cause: 401, 502, 503 or
	// 504. Method is "other" if no route has it. Took is the time since it arrived.
	RequestEnded(route int, method string, code int, took time.Duration)
}

// The reasons for Recorder.Refused.
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

// RefusalReasons returns every reason with which [Recorder].Refused may be called.
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
	outcomeRefused       = "refused" // never of a stream
)

// StreamOutcomes returns every outcome with which [Recorder].StreamEnded may be called.
func StreamOutcomes() []string {
	return []string{outcomeComplete, outcomeClientGone, outcomeUpstreamError, outcomeStalled, outcomeRevoked, outcomeShutdown}
}
