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

// authenticate lets requests with a genuine key pass. All others get the same
// 401, wherever they knock: an outsider learns nothing, neither why a key is
// refused nor which paths there are.
func (p *Proxy) authenticate(next step) step {
	return func(x *exchange) {
		text, err := access.Credential(x.r.Header)
		x.keyText, x.cuts = text, p.cuts.Load()
		if err == nil {
			x.key, err = p.Keys.Verify(text, x.arrived)
		}
		if err == nil {
			x.verified = true
			x.crowded = !x.client.Enter()
			defer x.client.Leave()
			x.keyID = p.keySeen(&x.key)
			next(x)
			return
		}
		if errors.Is(err, access.ErrAmbiguous) {
			x.answer(refusal{http.StatusBadRequest, reasonAmbiguous, "send one API key, in one header", 0})
			return
		}
		x.unauthorized(err)
	}
}

// keySeen tells the recorder of a good key. A Recorder is an interface, and so
// what it is given would be on the heap; the room for a label is used again.
func (p *Proxy) keySeen(key *signer.Key) int {
	room := labels.Get().(*[signer.MaxLabel]byte)
	defer labels.Put(room)
	narrowed, _ := key.Limits.LastID()
	return p.Recorder.KeySeen(key.ID, narrowed, key.Limits.AppendLabel(room[:0]))
}

var labels = sync.Pool{New: func() any { return new([signer.MaxLabel]byte) }}

// unauthorized answers those who have no valid key.
func (x *exchange) unauthorized(err error) {
	if errors.Is(err, signer.ErrExpired) || errors.Is(err, signer.ErrRevoked) {
		if former, err := signer.Inspect(x.keyText); err == nil { // its tag is genuine
			x.expiredClaims = &former
		}
	}
	x.w.Header().Set("WWW-Authenticate", "Bearer")
	x.answer(refusal{http.StatusUnauthorized, reasonOf(err), "missing or invalid API key", 0})
}

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

// authorize lets requests pass that the table names and the key allows.
func (p *Proxy) authorize(next step) step {
	return func(x *exchange) {
		switch route := x.Route; {
		case route == nil:
			x.answer(refusal{http.StatusNotFound, reasonRoute, "no such route", 0})
		case !route.Permits(x.r.Method):
			x.w.Header().Set("Allow", route.Allow)
			x.answer(refusal{http.StatusMethodNotAllowed, reasonRoute, "use " + route.Allow + " on this route", 0})
		case route.Class == signer.Admin && !x.key.Admin:
			x.answer(refusal{http.StatusForbidden, reasonRoute, "this route needs an OLLAMA-ADMIN- key", 0})
		case route.Class != api.Any && !x.key.Limits.AllowsClass(route.Class):
			x.answer(refusal{http.StatusForbidden, reasonRoute, "this key is not for " + string(route.Class) + " routes", 0})
		case x.key.Limits.LimitsAddresses() && !x.key.Limits.AllowsAddress(p.addressOf(x)):
			x.answer(refusal{http.StatusForbidden, reasonAddress, "this key is not for use from your address", 0})
		default:
			next(x)
		}
	}
}

// addressOf is the client's address, for keys that ask for one.
func (p *Proxy) addressOf(x *exchange) netip.Addr { return access.ClientAddress(x.r, p.TrustedProxies) }

// admit lets requests pass while there is room, and none once the proxy is
// shutting down. From here on the exchange can be cut.
func (p *Proxy) admit(next step) step {
	return func(x *exchange) {
		x.life.Begin(x.r.Context())
		defer x.life.Finish()
		x.beCuttable()
		defer x.beDone()
		err := p.running.enter(x)
		if p.running.leaving.Load() {
			// The next request is to go elsewhere, to another replica.
			x.w.Header().Set("Connection", "close")
		}
		if err != nil {
			x.answer(refusal{http.StatusServiceUnavailable, reasonOverload, err.Error() + ", try again", 1})
			return
		}
		defer p.running.leave(x)
		if p.cuts.Load() != x.cuts {
			// Keys were revoked since, and whoever looked for what runs under
			// them may not have seen this one.
			if _, err := p.Keys.Verify(x.keyText, x.arrived); err != nil {
				x.unauthorized(err)
				return
			}
		}
		next(x)
	}
}

// spend lets requests pass as far as the key's rpm and streams reach. Who asks what is
// left of them is answered here, for nothing.
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
			x.answer(refusal{http.StatusTooManyRequests, reason, "this key has no requests left for now", access.InSeconds(wait)})
			return
		case access.ReasonStreams:
			x.answer(refusal{http.StatusTooManyRequests, reason, "this key has as many requests running as it may", 1})
			return
		}
		defer done()
		next(x)
	}
}
