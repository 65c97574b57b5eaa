package local

import (
	"errors"
	"net/http"
)

// Client sends requests to this program's own private listener. It ignores HTTP_PROXY
// and the like: a forward proxy would answer for a server that is down, and see what the
// responses contain.
var Client = &http.Client{Transport: &http.Transport{}}

// RootCause returns the innermost error that err wraps, such as "connection refused".
func RootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
