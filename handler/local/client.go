package local

import (
	"errors"
	"net/http"
)

// Direct asks a Server of ours. The proxy of the environment has no part in that: it
// would answer for a Server that is gone, and see what there is to see of one.
var Direct = &http.Client{Transport: &http.Transport{}}

// RootCause is what lies at the bottom of an error, such as "connection refused".
func RootCause(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
