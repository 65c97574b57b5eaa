package handler

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/ollama-proxy/ollama-proxy/handler/access"
	"github.com/ollama-proxy/ollama-proxy/handler/api"
	"github.com/ollama-proxy/ollama-proxy/handler/keyinfo"
	"github.com/ollama-proxy/ollama-proxy/signer"
)

// keyRoute is where the holder of a key asks what it may do.
var keyRoute = api.Routes.Literal[keyinfo.Path]

// answerKey tells the holder of a key what it may do, and what is left of its limits on
// this replica. It costs nothing of them.
func (p *Proxy) answerKey(x *exchange) {
	x.w.Header()["Cache-Control"] = []string{"no-store"}
	p.tellLimits(x)
	body, err := json.Marshal(p.keyInfo(&x.key, x.arrived))
	if err != nil {
		panic(err) // there is nothing in it that JSON has not
	}
	x.outcome = outcomeComplete
	x.reply(http.StatusOK, "application/json", append(body, '\n'))
}

// tellLimits says in the headers of the answer what is left of the requests a minute, to
// keys that have so many.
func (p *Proxy) tellLimits(x *exchange) {
	if left, ok := p.budgets.LeftRequests(x.key.Limits, x.arrived); ok {
		left.SetHeaders(x.w.Header())
	}
}

func (p *Proxy) keyInfo(key *signer.Key, now time.Time) keyinfo.Info {
	info := keyinfo.Info{ID: key.ID.String(), Label: key.Label(), Admin: key.Admin, Routes: []string{}, Limits: []keyinfo.Limit{}}
	if last, ok := key.Limits.LastID(); ok {
		info.NarrowedID = last.String()
	}
	if minted, ok := key.Minted(); ok {
		info.Minted = &minted
	}
	if expires := p.Keys.Expires(key); !expires.IsZero() {
		info.Expires = &expires
	}
	for _, class := range []signer.Class{signer.Chat, signer.Embed, signer.Models, signer.Admin} {
		if key.Limits.AllowsClass(class) && (class != signer.Admin || key.Admin) {
			info.Routes = append(info.Routes, string(class))
		}
	}
	for _, c := range key.Limits.Caveats() {
		switch c.Name {
		case "models":
			info.Models = append(info.Models, strings.Split(c.Value, ","))
		case "from":
			info.From = append(info.From, strings.Split(c.Value, ","))
		}
	}
	for _, left := range p.budgets.Left(key.Limits, now) {
		info.Limits = append(info.Limits, limitOf(left))
	}
	return info
}

func limitOf(left access.Left) keyinfo.Limit {
	return keyinfo.Limit{Kind: left.Reason, Limit: left.Limit, Remaining: left.Remaining, ResetSeconds: left.Reset.Seconds(), Default: left.Default}
}
