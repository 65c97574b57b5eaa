package handler

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
	"github.com/ollama-proxy/ollama-proxy/handler/models"
	"github.com/ollama-proxy/ollama-proxy/handler/socket"
	"github.com/ollama-proxy/ollama-proxy/handler/transport"
	"github.com/ollama-proxy/ollama-proxy/handler/upstream"
)

var (
	errShutdown = errors.New("the proxy is shutting down")
	errRevoked  = errors.New("the API key has been revoked")
)

// failure is why an exchange has not ended with a complete answer of Ollama.
type failure struct {
	refusal        // for the client
	outcome string // for the metrics and the log
	kind    string // for Recorder.UpstreamFailed; "" unless Ollama is at fault
}

// diagnose finds out why an exchange has failed with err. The cause for which the context
// was cancelled comes first, since that makes reads and writes fail.
func (p *Proxy) diagnose(x *exchange, err error) failure {
	clientErr := x.clientErr()
	var refused *refusal
	var noList upstream.NoListError
	switch cause := x.ctx.Cause(); {
	case errors.Is(cause, errStalled):
		return failure{refusal{status: http.StatusGatewayTimeout, message: "no data was transferred for " + p.StallTimeout.String()}, outcomeStalled, ""}
	case errors.Is(cause, errNoFirstByte):
		return failure{refusal{status: http.StatusGatewayTimeout, message: "Ollama sent nothing within " + p.FirstByteTimeout.String()}, outcomeStalled, upstream.UpstreamTimeout}
	case errors.Is(cause, errShutdown):
		return failure{refusal{status: http.StatusServiceUnavailable, message: errShutdown.Error(), retryAfter: 1}, outcomeShutdown, ""}
	case errors.Is(cause, errRevoked):
		return failure{refusal{status: http.StatusUnauthorized, message: errRevoked.Error()}, outcomeRevoked, ""}
	case errors.As(err, &refused), errors.As(clientErr, &refused):
		return failure{*refused, outcomeRefused, ""}
	case errors.As(err, &noList), errors.As(clientErr, &noList):
		return failure{refusal{status: http.StatusBadGateway, message: noList.Message()}, outcomeUpstreamError, noList.Kind()}
	case errors.Is(err, upstream.ErrRemote):
		return failure{*errCloud, outcomeRefused, ""}
	case errors.Is(err, transport.ErrNoConnection):
		return failure{refusal{http.StatusServiceUnavailable, reasonOverload, transport.ErrNoConnection.Error() + ", try again", 1}, outcomeRefused, ""}
	case errors.Is(err, errBodyTooLarge), errors.Is(clientErr, errBodyTooLarge):
		return failure{refusal{status: http.StatusRequestEntityTooLarge, reason: reasonBody,
			message: fmt.Sprintf("the request body is larger than the %d bytes allowed here", p.MaxBody)}, outcomeRefused, ""}
	case x.r.Context().Err() != nil, socket.IsDisconnect(clientErr):
		return failure{refusal{status: StatusClientGone}, outcomeClientGone, ""}
	case clientErr != nil, errors.Is(err, models.ErrUnreadable):
		return failure{refusal{status: http.StatusBadRequest, reason: reasonBody, message: models.ErrUnreadable.Error()}, outcomeRefused, ""}
	}
	f := failure{refusal{status: http.StatusBadGateway, message: "Ollama broke off its answer"}, outcomeUpstreamError, upstream.UpstreamOther}
	var answer *api.ErrorAnswer
	if errors.As(err, &answer) {
		f.status, f.message = answer.Status, answer.Message
		return f
	}
	var opErr *net.OpError
	switch {
	case errors.Is(err, api.ErrTruncated):
		f.message, f.kind = "Ollama ended its answer before it was whole", upstream.UpstreamTruncated
	case errors.Is(err, upstream.ErrAllDown), errors.Is(err, upstream.ErrModelDown):
		f.message, f.kind = err.Error(), upstream.UpstreamDial
	case errors.As(err, &opErr) && opErr.Op == "dial":
		f.message, f.kind = upstream.Unreachable, upstream.UpstreamDial
	case socket.IsDisconnect(err), errors.Is(err, io.EOF):
		f.kind = upstream.UpstreamReset
	case x.status == 0:
		f.message = "Ollama's answer cannot be understood"
	}
	return f
}

// failureReported is a failure that Ollama itself has reported to the client, at the end
// of a stream.
var failureReported = failure{outcome: outcomeUpstreamError, kind: upstream.UpstreamReported}

// recordFailure records the failure in the exchange, for the log and the metrics. An error
// that may quote what Ollama sent is replaced by transport.ErrNotHTTP.
func (p *Proxy) recordFailure(x *exchange, f failure, err error) {
	x.outcome = f.outcome
	if f.kind == "" {
		return
	}
	if cause := x.ctx.Cause(); cause != nil && err != api.ErrReported {
		err = cause // cancelling the context has made the connection fail
	}
	if number, ok := p.pool.NumberOf(&x.Request); ok {
		p.Recorder.UpstreamFailed(number, f.kind)
	}
	var answer *api.ErrorAnswer
	if f.kind == upstream.UpstreamOther && !errors.As(err, &answer) && !errors.As(err, new(upstream.NoListError)) {
		err = transport.ErrNotHTTP
	}
	x.err = err
}

// fail ends an exchange whose answer has not begun, except for heartbeats.
func (p *Proxy) fail(x *exchange, err error) {
	f := p.diagnose(x, err)
	if x.status != 0 {
		p.failAfterHeartbeat(x, f, err)
		return
	}
	p.recordFailure(x, f, err)
	if f.outcome == outcomeClientGone {
		// Returning would send an empty 200, and a client that has closed only its
		// sending side would read it.
		abort(x)
	}
	if x.ctx.Cause() != nil {
		x.w.Header().Set("Connection", "close") // the deadlines of the cut are set on it
	}
	x.answer(f.refusal)
}

// failAfterHeartbeat ends an answer of which only heartbeats have been sent. An error event
// completes the answer, and the connection can be used again, unless the exchange was cut
// or the client is at fault: then the answer is broken off.
func (p *Proxy) failAfterHeartbeat(x *exchange, f failure, err error) {
	if f.outcome == outcomeClientGone || x.ctx.Cause() != nil || x.unread() {
		p.truncate(x, &api.Passage{}, err)
	}
	p.recordFailure(x, f, err)
	x.reason, x.status = f.reason, f.status // for the log and the metrics
	x.w.Write(x.dialect.ErrorEvent(x.stream, f.status, f.message, x.requestID(), 0))
}

// truncate ends an answer that has begun and cannot be completed. The connection is broken
// off, so that the client sees that the answer is incomplete. If the last line of a stream
// is complete, an error event of the client's dialect is sent before.
func (p *Proxy) truncate(x *exchange, t *api.Passage, err error) {
	f := p.diagnose(x, err)
	if f.outcome == outcomeClientGone && t.Ending.Verdict(&t.Tail) == api.ErrReported {
		f, err = failureReported, api.ErrReported // that is why the client left
	}
	sendsEvent := f.outcome != outcomeClientGone && err != api.ErrReported && (x.stream == api.Sse || x.stream == api.JsonLines)
	if f.outcome == outcomeRefused {
		f.outcome = outcomeClientGone // its upload broke off after the status was sent
	}
	p.recordFailure(x, f, err)
	if sendsEvent && (x.sent.Load() == 0 || t.Last(1) == '\n') {
		t.Ending.Finish(&t.Tail)
		event := x.dialect.ErrorEvent(x.stream, f.status, f.message, x.requestID(), t.Ending.Next)
		if x.stream == api.Sse && x.sent.Load() > 0 && t.Last(2) != '\n' {
			event = append([]byte{'\n'}, event...) // ends the event that Ollama has begun
		}
		x.w.Write(event)
		x.control.Flush()
		// Many clients drop unread data when the connection breaks off.
		select {
		case <-x.r.Context().Done():
		case <-time.After(errorEventDelay):
		}
	}
	abort(x)
}

// errorEventDelay is the time between an error event and closing the connection.
const errorEventDelay = 250 * time.Millisecond

// clientGone ends an exchange after a write to its client has failed with err.
func (p *Proxy) clientGone(x *exchange, err error) {
	f := failure{outcome: outcomeClientGone}
	if x.ctx.Cause() != nil {
		f = p.diagnose(x, err)
	}
	p.recordFailure(x, f, err)
	abort(x)
}

// abort closes the connection in a way that shows the client that the answer is
// incomplete. It panics with http.ErrAbortHandler.
func abort(x *exchange) {
	if !x.r.ProtoAtLeast(1, 1) {
		downstream.ResetOnClose(x.r.Context())
	}
	panic(http.ErrAbortHandler)
}
