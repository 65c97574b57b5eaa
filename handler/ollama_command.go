package handler

import (
	"net/http"
	"strings"

	"github.com/ollama-proxy/ollama-proxy/handler/access"
)

// useConnect tells the user of the ollama command what to do instead.
const useConnect = "this is an ollama-proxy, which wants an API key, and the ollama command cannot send one: " +
	"run `ollama-proxy connect` with the key and this URL, and let OLLAMA_HOST lead there"

// answerCommand answers the ollama command, which somebody has pointed at the proxy. It
// sends no key. It begins with HEAD /, and when that fails, or when any request gets
// 401, it prints "something went wrong" whatever the answer says. So HEAD / succeeds,
// though nothing is behind it, and all else gets a 403 whose message the command
// prints. All paths and methods are alike here, too.
//
// If the request is not the command's, or has a credential, answerCommand returns false.
func (x *exchange) answerCommand(err error) bool {
	if err != access.ErrNoKey || !strings.HasPrefix(x.r.UserAgent(), "ollama/") {
		return false
	}
	if x.r.Method == http.MethodHead && x.r.URL.Path == "/" {
		x.answerOK("text/plain; charset=utf-8", "")
		x.reason = reasonMissing
		return true
	}
	x.answer(refusal{http.StatusForbidden, reasonMissing, useConnect, 0})
	return true
}
