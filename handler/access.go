package handler

import (
	"errors"
	"net/http"

	"github.com/ollama-proxy/ollama-proxy/signer"
)

// authenticate lets requests with a genuine key pass. All others get the same
// 401, wherever they knock: an outsider learns nothing, neither why a key is
// refused nor which paths there are.
func (p *Proxy) authenticate(next step) step {
	return func(x *exchange) {
		text, err := credential(x.r.Header)
		if err == nil {
			x.key, err = p.Keys.Verify(text, x.arrived)
		}
		if err == nil {
			x.verified = true
			next(x)
			return
		}
		if errors.Is(err, errAmbiguous) {
			x.answer(refusal{http.StatusBadRequest, reasonAmbiguous, "send one API key, in one header", 0})
			return
		}
		x.w.Header().Set("WWW-Authenticate", "Bearer")
		x.answer(refusal{http.StatusUnauthorized, reasonOf(err), "missing or invalid API key", 0})
	}
}

func reasonOf(err error) string {
	switch {
	case errors.Is(err, errNoKey):
		return reasonMissing
	case errors.Is(err, signer.ErrForged):
		return reasonForged
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
		switch route := x.route; {
		case route == nil:
			x.answer(refusal{http.StatusNotFound, reasonRoute, "no such route", 0})
		case !route.permits(x.r.Method):
			x.w.Header().Set("Allow", route.allow)
			x.answer(refusal{http.StatusMethodNotAllowed, reasonRoute, "use " + route.allow + " on this route", 0})
		case route.class == signer.Admin && !x.key.Admin:
			x.answer(refusal{http.StatusForbidden, reasonRoute, "this route needs an OLLAMA-ADMIN- key", 0})
		default:
			next(x)
		}
	}
}

// admit lets requests pass while there is room, and none once the proxy is
// shutting down.
func (p *Proxy) admit(next step) step {
	return func(x *exchange) {
		if err := p.running.enter(x); err != nil {
			if errors.Is(err, errDraining) {
				// The connection is to go elsewhere, to another replica.
				x.w.Header().Set("Connection", "close")
			}
			x.answer(refusal{http.StatusServiceUnavailable, reasonOverload, err.Error() + ", try again", 1})
			return
		}
		defer p.running.leave(x)
		next(x)
	}
}
