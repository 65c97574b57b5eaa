package api

import "net/http"

// RetryHeader with the value "false" ends the retries of OpenAI's and Anthropic's
// libraries and of what is built on them. Claude Code, for one, sends a request that
// got 401 eleven times in three minutes without it.
const RetryHeader = "X-Should-Retry"

// IsFinal reports whether a refusal with the status stays the same however often its
// request is sent.
func IsFinal(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge:
		return true
	}
	return false
}
