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

// failure is why an exchange did not come to its proper end.
type failure struct {
	refusal
	outcome string
	kind    string // when it is Ollama's fault
}

// diagnose tells whose fault err is. The proxy's own decisions come first:
// they are what made the transfers fail.
func (p *Proxy) diagnose(x *exchange, err error) failure {
	clientErr := x.clientErr()
	var refused *refusal
	var noList upstream.NoListError
	switch cause := x.life.Cause(); {
	case errors.Is(cause, errStalled):
		return failure{refusal{status: http.StatusGatewayTimeout, message: "nothing moved for " + p.StallTimeout.String()}, outcomeStalled, ""}
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
	var theirs *ollamaError
	if errors.As(err, &theirs) {
		f.status, f.message = theirs.status, theirs.message
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

// reported is the failure that Ollama itself has told the client of, at the end of
// a stream.
var reported = failure{outcome: outcomeUpstreamError, kind: upstream.UpstreamReported}

// recordFailure keeps what the failure was for the report. Errors that are not about
// connections are not kept as they are: they may quote what Ollama sent.
func (p *Proxy) recordFailure(x *exchange, f failure, err error) {
	x.outcome = f.outcome
	if f.kind == "" {
		return
	}
	if cause := x.life.Cause(); cause != nil && err != api.ErrReported {
		err = cause // it made the connection fail
	}
	if number, ok := p.pool.NumberOf(&x.Request); ok {
		p.Recorder.UpstreamFailed(number, f.kind)
	}
	var theirs *ollamaError
	if f.kind == upstream.UpstreamOther && !errors.As(err, &theirs) && !errors.As(err, new(upstream.NoListError)) {
		err = transport.ErrNotHTTP
	}
	x.err = err
}

// fail ends an exchange of whose answer nothing has been sent yet, heartbeats
// apart.
func (p *Proxy) fail(x *exchange, err error) {
	f := p.diagnose(x, err)
	if x.status != 0 {
		p.failBehindHeartbeat(x, f, err)
		return
	}
	p.recordFailure(x, f, err)
	if f.outcome == outcomeClientGone {
		// A plain return would send an empty 200 to a client that has only
		// closed its own half.
		abort(x)
	}
	if x.life.Cause() != nil {
		x.w.Header().Set("Connection", "close") // it carries the cut's deadlines
	}
	x.answer(f.refusal)
}

// failBehindHeartbeat ends an answer of which the client has got comments only. An
// event tells it all that there is to tell, so the answer is whole, and the
// connection can be used again; but not if the exchange was cut.
func (p *Proxy) failBehindHeartbeat(x *exchange, f failure, err error) {
	if f.outcome == outcomeClientGone || x.life.Cause() != nil || x.unread() {
		p.truncate(x, &api.Passage{}, err)
	}
	p.recordFailure(x, f, err)
	x.reason, x.status = f.reason, f.status // for the report
	x.w.Write(x.dialect.ErrorEvent(x.stream, f.status, f.message, x.requestID(), 0))
}

// truncate ends an answer in its midst. The client must see that it is not
// whole: in its own terms where the last line is complete, and by a broken
// connection in any case.
func (p *Proxy) truncate(x *exchange, t *api.Passage, err error) {
	f := p.diagnose(x, err)
	if f.outcome == outcomeClientGone && t.Ending.Verdict(&t.Tail) == api.ErrReported {
		f, err = reported, api.ErrReported // the client left because of it
	}
	canSay := f.outcome != outcomeClientGone && err != api.ErrReported && (x.stream == api.Sse || x.stream == api.JsonLines)
	if f.outcome == outcomeRefused {
		f.outcome = outcomeClientGone // too late to refuse: its upload broke off
	}
	p.recordFailure(x, f, err)
	if canSay && (x.sent.Load() == 0 || t.Last(1) == '\n') {
		t.Ending.Finish(&t.Tail)
		event := x.dialect.ErrorEvent(x.stream, f.status, f.message, x.requestID(), t.Ending.Next)
		if x.stream == api.Sse && x.sent.Load() > 0 && t.Last(2) != '\n' {
			event = append([]byte{'\n'}, event...) // ends the event before
		}
		x.w.Write(event)
		x.control.Flush()
		// Many clients drop what they have not read yet when the connection
		// breaks.
		select {
		case <-x.r.Context().Done():
		case <-time.After(errorEventDelay):
		}
	}
	abort(x)
}

// errorEventDelay is the time between an error event and the end of the connection.
const errorEventDelay = 250 * time.Millisecond

// clientGone ends an exchange after a write to its client has failed.
func (p *Proxy) clientGone(x *exchange, err error) {
	f := failure{outcome: outcomeClientGone}
	if x.life.Cause() != nil {
		f = p.diagnose(x, err)
	}
	p.recordFailure(x, f, err)
	abort(x)
}

// abort closes the connection such that what was sent cannot pass for whole.
func abort(x *exchange) {
	if !x.r.ProtoAtLeast(1, 1) {
		downstream.ResetOnClose(x.r.Context())
	}
	panic(http.ErrAbortHandler)
}
