package handler

import (
	"net/http"
	"strings"
)

// asksForWebSocket reports whether the request is the first of a websocket's. Codex
// sends such a request before each POST, and goes on at once when it gets 426.
func asksForWebSocket(r *http.Request) bool {
	return r.Method == http.MethodGet && lists(r.Header["Upgrade"], "websocket") && lists(r.Header["Connection"], "upgrade")
}

// lists reports whether a header's values, with commas between them, have the word.
func lists(values []string, word string) bool {
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(one, " \t"), word) {
				return true
			}
		}
	}
	return false
}

// refuseWebSocket answers 426 with the protocol that is spoken here, as RFC 9110 has
// it. The connection ends: what a client sends on it after such a request may be no
// HTTP.
func (x *exchange) refuseWebSocket() {
	h := x.w.Header()
	h.Set("Upgrade", "HTTP/1.1")
	h["Connection"] = []string{"close", "Upgrade"} // net/http closes for the first only
	x.answer(refusal{http.StatusUpgradeRequired, reasonRoute, "there are no websockets here: use " + x.Route.Allow + " on this route", 0})
}
