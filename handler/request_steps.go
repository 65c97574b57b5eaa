package handler

import (
	"errors"
	"net/http"
	"net/netip"
	"sync"

	"github.com/ollama-proxy/ollama-proxy/handler/access"
	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// authenticate passes on requests with a valid key. All others are answered before the
// route is looked at, so that a client without a key does not learn which paths exist.
func (p *Proxy) authenticate(next step) step {
	return func(x *exchange) {
		text, err := access.Credential(x.r.Header)
		x.keyText, x.cuts = text, p.cuts.Load()
		if err == nil {
			x.key, err = p.Keys.Verify(text, x.arrived)
		}
		if err == nil {
			x.verified = true
			x.overConnLimit = !x.client.Enter()
			defer x.client.Leave()
			x.keyID = p.keySeen(&x.key)
			next(x)
			return
		}
		if errors.Is(err, access.ErrAmbiguous) {
			x.answer(refusal{http.StatusBadRequest, reasonAmbiguous, "send one API key, not two", 0})
			return
		}
		if !x.answerCommand(err) {
			x.unauthorized(err)
		}
	}
}

// keySeen reports a valid key to the recorder. The buffer for the label is pooled: what is
// passed to a method of an interface is allocated on the heap.
func (p *Proxy) keySeen(key *signer.Key) int {
	buf := labelBuffers.Get().(*[signer.MaxLabel]byte)
	defer labelBuffers.Put(buf)
	narrowed, _ := key.Limits.LastID()
	return p.Recorder.KeySeen(key.ID, narrowed, key.Limits.AppendLabel(buf[:0]))
}

var labelBuffers = sync.Pool{New: func() any { return new([signer.MaxLabel]byte) }}

// unauthorized answers 401 to a request without a valid key. Keys that were never genuine
// get one text, so that an outsider does not learn why. Whoever holds a key that has
// expired or was revoked is told so: its tag was good.
func (x *exchange) unauthorized(err error) {
	message := "missing or invalid API key"
	if expired := errors.Is(err, signer.ErrExpired); expired || errors.Is(err, signer.ErrRevoked) {
		message = errRevoked.Error()
		if expired {
			message = "the API key has expired"
		}
		if former, err := signer.Inspect(x.keyText); err == nil {
			x.expiredClaims = &former
		}
	}
	x.answer(refusal{http.StatusUnauthorized, reasonOf(err), message, 0})
}

// reasonOf returns the reason for Recorder.Refused for a key that is missing or not valid.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, access.ErrNoKey):
		return reasonMissing
	case errors.Is(err, signer.ErrBadSignature):
		return reasonBadSignature
	case errors.Is(err, signer.ErrExpired):
		return reasonExpired
	case errors.Is(err, signer.ErrRevoked):
		return reasonRevoked
	}
	return reasonMalformed
}

// authorize passes on requests on a route of the table, with a method, a class and a
// client address that the key allows.
func (p *Proxy) authorize(next step) step {
	return func(x *exchange) {
		switch route := x.Route; {
		case route == nil:
			x.answerOffTable()
		case asksForWebSocket(x.r):
			x.refuseWebSocket()
		case !route.Permits(x.r.Method):
			x.w.Header().Set("Allow", route.Allow)
			x.answer(refusal{http.StatusMethodNotAllowed, reasonRoute, "use " + route.Allow + " on this route", 0})
		case route.Class == signer.Admin && !(x.key.Admin && x.key.Limits.AllowsClass(signer.Admin)) && !x.checksPull():
			x.refuseManaging()
		case route.Class != signer.Admin && route.Class != api.Any && !x.key.Limits.AllowsClass(route.Class):
			x.answer(refusal{http.StatusForbidden, reasonRoute, "this key is not for " + string(route.Class) + " routes", 0})
		case x.key.Limits.LimitsAddresses() && !x.key.Limits.AllowsAddress(p.addressOf(x)):
			x.answer(refusal{http.StatusForbidden, reasonAddress, "this key is not for use from your address", 0})
		default:
			next(x)
		}
	}
}

// addressOf returns the client's address.
func (p *Proxy) addressOf(x *exchange) netip.Addr { return access.ClientAddress(x.r, p.TrustedProxies) }

// admit adds the exchange to the running set, where it can be cut, and passes it on. It
// answers 503 if the running set is full or draining.
func (p *Proxy) admit(next step) step {
	return func(x *exchange) {
		x.ctx.Begin(x.r.Context())
		defer x.ctx.Finish()
		x.allowCut()
		defer x.forbidCut()
		err := p.running.enter(x)
		if p.running.leaving.Load() {
			// The client's next request is to go to another replica.
			x.w.Header().Set("Connection", "close")
		}
		if err != nil {
			x.answer(refusal{http.StatusServiceUnavailable, reasonOverload, err.Error() + ", try again", 1})
			return
		}
		defer p.running.leave(x)
		if p.cuts.Load() != x.cuts {
			// CutRevoked ran after the key was verified, maybe before this exchange
			// was in the running set.
			if _, err := p.Keys.Verify(x.keyText, x.arrived); err != nil {
				x.unauthorized(err)
				return
			}
		}
		next(x)
	}
}

// spend passes on requests within the rate limits of their keys (caveats rpm and
// streams), and answers 429 beyond. A request for what is left of them is answered here,
// and not counted.
func (p *Proxy) spend(next step) step {
	return func(x *exchange) {
		if x.Route == keyRoute {
			p.answerKey(x)
			return
		}
		if !p.budgets.HasBudgets(x.key.Limits) {
			next(x)
			return
		}
		done, reason, wait := p.budgets.Spend(x.key.Limits, x.arrived)
		p.tellLimits(x)
		switch reason {
		case access.ReasonRPM:
			x.answer(refusal{http.StatusTooManyRequests, reason, "this key has used up its requests per minute", access.InSeconds(wait)})
			return
		case access.ReasonStreams:
			x.answer(refusal{http.StatusTooManyRequests, reason, "this key has as many requests in flight as it allows", 1})
			return
		}
		defer done()
		next(x)
	}
}
