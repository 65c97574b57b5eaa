package handler

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/downstream"
)

// StatusClientGone is the status in the log and the metrics when the client left before
// the end of its answer: 499, as in nginx. It is never sent.
const StatusClientGone = 499

// observe reports each exchange to the recorder and the log. The call is deferred, since
// a broken off answer ends in a panic with http.ErrAbortHandler.
func (p *Proxy) observe(next step) step {
	return func(x *exchange) {
		p.Recorder.RequestStarted(x.routeID())
		x.identify()
		if p.Log.Enabled(context.Background(), slog.LevelInfo) {
			x.logged = p.inspect(x)
		}
		defer p.report(x)
		next(x)
	}
}

// report reports the end of an exchange.
func (p *Proxy) report(x *exchange) {
	defer x.Leave()
	took := time.Since(x.arrived)
	if x.status == 0 && x.outcome == "" {
		x.status = http.StatusInternalServerError // a bug in the proxy: a step panicked
	}
	code := x.status
	switch x.outcome {
	case outcomeClientGone:
		code = StatusClientGone
	case outcomeUpstreamError:
		code = http.StatusBadGateway
	case outcomeStalled:
		code = http.StatusGatewayTimeout
	case outcomeRevoked:
		code = http.StatusUnauthorized
	case outcomeShutdown:
		code = http.StatusServiceUnavailable
	}
	if x.reason != "" {
		p.Recorder.Refused(x.reason)
		x.outcome = outcomeRefused
	}
	if x.stream != api.NoStream {
		p.Recorder.StreamEnded(x.routeID(), x.outcome)
	}
	p.Recorder.RequestEnded(x.routeID(), x.method(), code, took)
	p.log(x, code, took)
	if x.r.ProtoMajor == 2 {
		// The connection does not see that a client keeps the stream's window closed.
		x.control.SetWriteDeadline(x.arrived.Add(took + downstream.WriteTimeout(x.verified, p.StallTimeout)))
	}
}

// method returns the request's method, or "other" if no route has it: a client must not
// be able to choose the value of a label.
func (x *exchange) method() string {
	switch m := x.r.Method; m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete:
		return m
	}
	return api.Other
}

// log writes one line of the access log. From the request it takes only values that are
// in the key or in the proxy's own tables, the names of models, and what requestInfo has.
func (p *Proxy) log(x *exchange, code int, took time.Duration) {
	if x.logged == nil {
		return
	}
	attrs := make([]slog.Attr, 0, 18)
	attrs = append(attrs, slog.String("request", x.requestID()))
	if x.logged.trace != "" {
		attrs = append(attrs, slog.String("trace", x.logged.trace))
	}
	if x.logged.client.IsValid() {
		attrs = append(attrs, slog.String("client", x.logged.client.String()))
	}
	name, label := "", ""
	switch {
	case x.verified:
		name, label = x.key.Name(), x.key.Label()
	case x.expiredClaims != nil:
		name, label = x.expiredClaims.Name(), x.expiredClaims.Limits.Label()
	}
	if name != "" {
		attrs = append(attrs, slog.String("key", name))
	}
	if label != "" {
		attrs = append(attrs, slog.String("label", label))
	}
	attrs = append(attrs,
		slog.String("route", api.NameOf(x.Route)),
		slog.String("method", x.method()))
	if x.logged.path != "" {
		attrs = append(attrs, slog.String("path", x.logged.path))
	}
	if model := x.Model.Load(); model != nil {
		attrs = append(attrs, slog.String("model", *model))
	}
	attrs = append(attrs,
		slog.Int("status", code),
		slog.Int64("bytes", x.sent.Load()),
		slog.Duration("duration", took))
	if x.At != nil {
		attrs = append(attrs, slog.String("upstream", x.At.Name))
	}
	if x.firstByte > 0 {
		attrs = append(attrs, slog.Duration("first_byte", x.firstByte))
	}
	attrs = append(attrs, slog.String("outcome", x.outcome))
	if x.reason != "" {
		attrs = append(attrs, slog.String("reason", x.reason))
	}
	if x.err != nil && !errors.Is(x.err, context.Canceled) {
		attrs = append(attrs, slog.String("error", x.err.Error()))
	}
	p.Log.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
}

// countAnswer reports the bytes and tokens of an answer under its model, or under "other"
// if no Ollama lists that model: a client must not be able to choose the value of a label.
func (p *Proxy) countAnswer(x *exchange, t *api.Tail) {
	prompt, completion := t.Tokens(x.dialect)
	model, label := x.Model.Load(), api.Other
	if model == nil && prompt == 0 && completion == 0 {
		return
	}
	if model != nil && p.pool.Knows(*model) {
		label = *model
	}
	p.Recorder.Answered(x.keyID, label, x.sent.Load(), prompt, completion)
}
